"""What a draw needs to know of all logits, as one compiled loop over rows.

torch passes five times over a vocabulary for it.
"""

import math
from functools import cache

import torch
from torch import Tensor

from powerblend.engine.compiled_calls import Compiled, empty, held
from powerblend.engine.compiler import Code, compiled, lanes, serves


def block_sums(logits: Tensor, alpha: float, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Largest logit [rows, 1], sum of exp(z) [rows, 1], and sums of exp(alpha z) [rows, blocks].

    ``logits`` are [rows, vocabulary], z relative to the row's largest; a block is so many tokens,
    the last one what is left.
    """
    rows, vocabulary = logits.shape
    logits = logits.contiguous()
    peak, total = (empty([rows, 1], logits.dtype) for _ in range(2))
    by_block = empty([rows, -(-vocabulary // block)], logits.dtype)
    tensors = [logits, peak, total, by_block, held(alpha, logits.dtype)]
    _block_sums(logits.dtype)(tensors, rows, vocabulary, block)
    return peak, total, by_block


def sums_blocks(logits: Tensor, block: int) -> bool:
    """Whether `block_sums` serves logits [rows, vocabulary]."""
    if not serves(logits):
        return False
    many = lanes(logits.dtype)
    return logits.shape[1] % many == 0 and block % many == 0


@cache
def _block_sums(dtype: torch.dtype) -> Compiled:
    """Of what `block_sums` passes."""
    code = Code(dtype)
    args = code.function("main", 5 * [code.numbers] + 3 * [code.integer]).args
    logits, peaks, totals, by_block, exponent, rows, vocabulary, block = args
    build, zero, one, step = code.build, code.integer(0), code.integer(1), code.integer(code.lanes)
    blocks, nothing = code.parts(vocabulary, block), code.constant(0.0)
    alpha = code.spread(build.load(exponent))
    with code.loop(zero, rows, one) as (row, _, _):
        line = code.at(logits, code.times(row, vocabulary))
        kept = [code.constant(-math.inf), nothing]
        with code.loop(zero, vocabulary, step, kept) as (at, (most, strange), following):
            value = code.load(code.at(line, at))
            above = build.fcmp_ordered(">", value, most)
            is_none = build.fcmp_unordered("uno", value, value)
            following.append(build.select(above, value, most))
            following.append(build.select(is_none, value, strange))
        # NaN where a logit is, or infinite, so that whoever looks at the draw notices.
        largest = code.largest(most)
        largest = build.fadd(largest, build.fsub(largest, largest))
        largest = build.fadd(largest, code.sum(strange))
        build.store(largest, code.at(peaks, row))
        peak, sums = code.spread(largest), code.at(by_block, code.times(row, blocks))
        with code.loop(zero, blocks, one, [nothing]) as (number, shares, kept):
            start = code.times(number, block)
            stop = code.smaller(build.add(start, block), vocabulary)
            # Block by block, so that no sum grows over thousands of small steps.
            with code.loop(start, stop, step, [nothing, nothing]) as (at, (share, weight), added):
                score = build.fsub(code.load(code.at(line, at)), peak)
                here, powered = code.exp(score), code.exp(build.fmul(alpha, score))
                added.extend([build.fadd(share, here), build.fadd(weight, powered)])
            build.store(code.sum(weight), code.at(sums, number))
            kept.append(build.fadd(shares[0], share))
        build.store(code.sum(shares[0]), code.at(totals, row))
    build.ret_void()
    return compiled(code, 5, 3)
