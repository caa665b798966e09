"""What a decode step does between its products, as kernels of a GPU, written in Triton.

Numbers are read in the model's dtype, computed in float32 and rounded once, as they are written.
torch's operations, one after the other, round a norm, its product with the weights and both terms
of a rotation, so in 16 bits these kernels are nearer to exact arithmetic. A residual sum is rounded
before it is normed, as where it is written and read again: its norm is what torch's would be.

None of them asks the device for anything, so that all may be recorded (`cuda_graphs`). `gpu_rows`
alone imports this file: a CPU needs no Triton.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from powerblend.engine.compiled_rows import Angles, HeadNorms, Where

HEADS_AT_ONCE = 8
"""Heads of a token that one program places: 16 rows make programs enough for a GPU's processors."""

GATES_AT_ONCE = 1024
"""Gates of a token that one program multiplies."""

NUMBERS_PER_WARP = 512
"""Of a row that one program norms: 16 a thread, two loads of 16 bytes where they are halves."""


@triton.jit
def _placed(
    inputs,
    cosines,
    sines,
    weights,
    queries,
    keys,
    values,
    slots,
    positions,
    start,
    eps,
    by_slot,
    by_head,
    by_position,
    query_heads: tl.constexpr,
    kv_heads: tl.constexpr,
    width: tl.constexpr,
    lanes: tl.constexpr,
    at_once: tl.constexpr,
    normed: tl.constexpr,
):
    """Some heads [at_once, lanes], in two halves whose numbers are paired; of one token."""
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * at_once + tl.arange(0, at_once)[:, None]
    lane = tl.arange(0, lanes)[None, :]
    half: tl.constexpr = width // 2
    heads: tl.constexpr = query_heads + 2 * kv_heads
    is_query, is_value = head < query_heads, head >= query_heads + kv_heads
    inside = lane < half
    known = inside & (head < heads)

    numbers = inputs + (token * heads + head) * width + lane
    first = tl.load(numbers, known, 0.0).to(tl.float32)
    second = tl.load(numbers + half, known, 0.0).to(tl.float32)
    even, odd = first, second
    if normed:
        mean = tl.sum(first * first + second * second, 1)[:, None] / width
        factor = tl.rsqrt(mean + eps)
        weighted = inside & (head < query_heads + kv_heads)
        by = weights + head * width + lane
        even = first * factor * tl.load(by, weighted, 0.0).to(tl.float32)
        odd = second * factor * tl.load(by + half, weighted, 0.0).to(tl.float32)
    cosine, sine = cosines + token * width + lane, sines + token * width + lane
    turned_first = even * tl.load(cosine, inside, 0.0).to(tl.float32)
    turned_first -= odd * tl.load(sine, inside, 0.0).to(tl.float32)
    turned_second = odd * tl.load(cosine + half, inside, 0.0).to(tl.float32)
    turned_second += even * tl.load(sine + half, inside, 0.0).to(tl.float32)

    query = queries + (token * query_heads + head) * width + lane
    tl.store(query, turned_first, known & is_query)
    tl.store(query + half, turned_second, known & is_query)
    kv_head = head - query_heads - tl.where(is_value, kv_heads, 0)
    position = tl.load(positions + token) - start
    place = tl.load(slots + token) * by_slot + kv_head * by_head + position * by_position + lane
    is_key = (head >= query_heads) & (head < query_heads + kv_heads)
    tl.store(keys + place, turned_first, known & is_key)
    tl.store(keys + place + half, turned_second, known & is_key)
    tl.store(values + place, first, known & is_value)
    tl.store(values + place + half, second, known & is_value)


@triton.jit
def _normed_sum(
    left,
    right,
    weights,
    sums,
    normed,
    eps,
    width: tl.constexpr,
    lanes: tl.constexpr,
):
    """A row's sum, and its norm."""
    lane = tl.arange(0, lanes)
    inside = lane < width
    here = tl.program_id(0).to(tl.int64) * width + lane
    added = tl.load(left + here, inside, 0.0).to(tl.float32)
    added += tl.load(right + here, inside, 0.0).to(tl.float32)
    rounded = added.to(sums.dtype.element_ty)
    tl.store(sums + here, rounded, inside)
    number = rounded.to(tl.float32)
    factor = tl.rsqrt(tl.sum(number * number, 0) / width + eps)
    weight = tl.load(weights + lane, inside, 0.0).to(tl.float32)
    tl.store(normed + here, number * factor * weight, inside)


@triton.jit
def _gated(both, outputs, width: tl.constexpr, lanes: tl.constexpr):
    """Some of a row's gates."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * lanes + tl.arange(0, lanes)
    inside = column < width
    numbers = both + row * 2 * width + column
    gate = tl.load(numbers, inside, 0.0).to(tl.float32)
    up = tl.load(numbers + width, inside, 0.0).to(tl.float32)
    tl.store(outputs + row * width + column, gate * tl.sigmoid(gate) * up, inside)


def placed(
    by_head: Tensor,
    angles: Angles,
    own: tuple[Tensor, Tensor],
    where: Where,
    norms: HeadNorms | None,
) -> Tensor:
    """What `compiled_rows.placed` does, in a cache of either layout; several tokens may be a row's.

    What ``where`` has are the slot and the position of each token, [tokens] each.
    """
    keys, values = own
    tokens, heads, width = by_head.shape
    kv_heads = keys.shape[1]
    query = by_head.new_empty(tokens, heads - 2 * kv_heads, width)
    weight, eps = (query, 0.0) if norms is None else norms  # of no norm nothing is read
    with torch.cuda.device_of(by_head):
        _placed[tokens, triton.cdiv(heads, HEADS_AT_ONCE)](
            *(by_head, *angles, weight, query, keys, values, where.slots, where.positions),
            *(where.start, eps, *keys.stride()[:3]),
            query_heads=query.shape[1],
            kv_heads=kv_heads,
            width=width,
            lanes=triton.next_power_of_2(width // 2),
            at_once=HEADS_AT_ONCE,
            normed=norms is not None,
        )
    return query


def normed_sum(left: Tensor, right: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The sum of two tensors [..., width], and its RMS norm."""
    width = weight.numel()
    lanes = triton.next_power_of_2(width)
    total, normed = torch.empty_like(left), torch.empty_like(left)
    with torch.cuda.device_of(left):
        _normed_sum[(left.numel() // width,)](
            *(left, right, weight, total, normed, eps),
            width=width,
            lanes=lanes,
            num_warps=min(16, triton.cdiv(lanes, NUMBERS_PER_WARP)),
        )
    return total, normed


def gated(both: Tensor) -> Tensor:
    """silu(gate) * up of [..., gate and up side by side], [..., half as many]."""
    width = both.shape[-1] // 2
    output = both.new_empty(*both.shape[:-1], width)
    with torch.cuda.device_of(both):
        _gated[output.numel() // width, triton.cdiv(width, GATES_AT_ONCE)](
            both, output, width=width, lanes=GATES_AT_ONCE
        )
    return output
