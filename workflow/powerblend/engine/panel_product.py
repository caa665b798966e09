"""Products of rows with weights in panels, compiled for the processor that they run on.

    weight [outputs, inputs]   ->   panels [outputs / width, inputs, width], zeros to the end

A panel is as wide as two vector registers. Six rows or eight meet it together, their sums in
registers, so that weights are read once and in the order in which they lie in memory: a product of
six rows takes little longer than that of one, where a library's takes twice as long or more
(benchmarks/products.py).

Every sum runs over the inputs in their order, so a row's product is the same to the last bit
whatever rows are beside it.
"""

import itertools
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from powerblend.engine.compiled_calls import CACHE_LINE_BYTES, Compiled, empty
from powerblend.engine.compiler import Code, compiled, lanes, registers

INPUTS_AT_ONCE = 4
"""Whose products are added between one look at the loop's counter and the next."""

NUMBERS_AT_ONCE = 2**18
"""Of the inputs' that meet one panel after the other: what a cache holds of them, ..."""

FEWEST_AT_ONCE = 48
"""... and so many rows, however many numbers each has."""


class Blocks(NamedTuple):
    """How rows meet a panel.

    Attributes
    ----------
    rows
        At once: two sums of each, two weights and an input fill the vector registers.
    inputs_ahead
        So far ahead a panel's weights are fetched from memory, where several rows keep the
        processor busy till then; None: it sees by itself what is read next. One row waits for
        memory anyway.
    parts
        The next panel is fetched meanwhile, in so many parts, one beside each block of rows.
    """

    rows: int
    inputs_ahead: int | None
    parts: int


BLOCKS = {16: Blocks(6, 16, 4), 32: Blocks(8, None, 2)}
"""By vector registers, the fastest of those tried (benchmarks/products.py)."""


class Panels(NamedTuple):
    """Weights [panels, inputs, width] of so many outputs."""

    weights: Tensor
    outputs: int

    @classmethod
    def of(cls, weight: Tensor) -> "Panels":
        """Of a linear map's weight, [outputs, inputs]."""
        outputs, inputs = weight.shape
        width = panel_width(weight.dtype)
        count = -(-outputs // width)
        weights = weight.new_zeros(count, inputs, width)
        whole = outputs // width
        weights[:whole] = weight[: whole * width].view(whole, width, inputs).transpose(1, 2)
        if whole < count:
            weights[whole, :, : outputs - whole * width] = weight[whole * width :].t()
        return cls(weights, outputs)

    @property
    def weight(self) -> Tensor:
        """[outputs, inputs], put together again."""
        return self.weights.transpose(1, 2).flatten(0, 1)[: self.outputs]

    def product(self, rows: Tensor) -> Tensor:
        """Of rows [rows, inputs] with them all, [rows, outputs]."""
        if rows.dtype != self.weights.dtype:
            raise ValueError(f"rows of {rows.dtype} meet weights of {self.weights.dtype}")
        count, inputs, width = self.weights.shape
        rows = rows.contiguous()
        filled = empty([len(rows), count * width], rows.dtype)
        chunk = max(FEWEST_AT_ONCE, NUMBERS_AT_ONCE // inputs)
        multiply = _compiled(rows.dtype, BLOCKS[registers()])
        multiply([rows, self.weights, filled], len(rows), inputs, count, chunk)
        return filled if self.outputs == count * width else filled[:, : self.outputs].contiguous()


def panel_width(dtype: torch.dtype) -> int:
    """Numbers in a row of a panel: two vector registers."""
    return 2 * lanes(dtype)


@cache
def _compiled(dtype: torch.dtype, kind: Blocks) -> Compiled:
    """Of the addresses of rows, panels, outputs; rows, inputs, panels, rows in a chunk."""
    code = Code(dtype)
    blocks = [_block(code, kind, rows) for rows in range(1, kind.rows + 1)]
    _product(code, kind, blocks)
    return compiled(code, 3, 4)


def _block(code: Code, kind: Blocks, rows: int) -> Any:
    """So many rows with one panel: of addresses of rows, panel, outputs, and what to fetch; sizes.

    These are the numbers of inputs and outputs. What is fetched beside is a part of the next panel.
    """
    kinds = 4 * [code.numbers] + 2 * [code.integer]
    function = code.function(f"block_of_{rows}", kinds)
    function.linkage = "internal"
    first, panel, output, ahead, inputs, outputs = function.args
    lines = [code.at(first, code.times(inputs, row)) for row in range(rows)]
    half = code.lanes

    def meet(place: Any, sums: list[Any]) -> list[Any]:
        """The sums with one more input's products."""
        weights = code.at(panel, code.times(place, 2 * half))
        if rows > 1 and kind.inputs_ahead is not None:
            code.prefetch(code.at(weights, kind.inputs_ahead * 2 * half))
        halves = code.load(weights), code.load(code.at(weights, half))
        values = [code.spread(code.build.load(code.at(line, place))) for line in lines]
        pairs = itertools.product(values, halves)
        return [code.fused(*pair, total) for pair, total in zip(pairs, sums, strict=True)]

    zero, several, one = (code.integer(number) for number in (0, INPUTS_AT_ONCE, 1))
    whole = code.times(code.build.sdiv(inputs, several), several)
    sums = 2 * rows * [code.constant(0.0)]
    with code.loop(zero, whole, several, sums) as (place, sums, added):
        part = INPUTS_AT_ONCE * 2 * half // kind.parts  # of the numbers that are read meanwhile
        for line in range(0, part, CACHE_LINE_BYTES // code.dtype.itemsize):
            if rows > 1:
                fetched = code.times(place, part // INPUTS_AT_ONCE)
                code.prefetch(code.at(ahead, fetched, line))
        met = sums
        for number in range(INPUTS_AT_ONCE):
            met = meet(code.build.add(place, code.integer(number)), met)
        added.extend(met)
    with code.loop(whole, inputs, one, sums) as (place, sums, added):
        added.extend(meet(place, sums))
    for place, total in enumerate(sums):
        row, side = divmod(place, 2)
        code.store(total, code.at(output, code.times(outputs, row), side * half))
    code.build.ret_void()
    return function


def _product(code: Code, kind: Blocks, blocks: list[Any]) -> None:
    """All rows with all panels: chunk after chunk, and of a chunk so many rows at once."""
    function = code.function("main", 3 * [code.numbers] + 4 * [code.integer])
    first, panels, output, all_rows, inputs, count, chunk = function.args
    build, width = code.build, 2 * code.lanes
    outputs = code.times(count, width)
    zero, one, most = code.integer(0), code.integer(1), code.integer(kind.rows)
    with code.loop(zero, all_rows, chunk) as (start, _, _):
        rows = code.smaller(build.sub(all_rows, start), chunk)
        # Evenly: 8 rows as 4 and 4, not as 6 and 2.
        at_once = code.parts(rows, code.parts(rows, most))
        first_line = code.at(first, code.times(start, inputs))
        first_target = code.at(output, code.times(start, outputs))
        with code.loop(zero, count, one) as (number, _, _):
            panel = code.at(panels, code.times(number, inputs, width))
            column = code.at(first_target, code.times(number, width))
            with code.loop(zero, rows, at_once) as (row, _, _):
                here = code.smaller(build.sub(rows, row), at_once)
                line = code.at(first_line, code.times(row, inputs))
                target = code.at(column, code.times(row, outputs))
                block = build.sdiv(row, at_once)
                ahead = code.at(panel, code.times(inputs, width), _part(code, kind, block, inputs))
                after = function.append_basic_block()
                choice = build.switch(here, after)
                for some, block in enumerate(blocks, 1):
                    case = function.append_basic_block()
                    choice.add_case(code.integer(some), case)
                    build.position_at_end(case)
                    build.call(block, [line, panel, target, ahead, inputs, outputs])
                    build.branch(after)
                build.position_at_end(after)
    build.ret_void()


def _part(code: Code, kind: Blocks, block: Any, inputs: Any) -> Any:
    """Where the part of a panel begins that a block of rows fetches.

    The last is fetched again by all further rows, which costs nothing.
    """
    part = code.smaller(block, code.integer(kind.parts - 1))
    return code.times(part, inputs, 2 * code.lanes // kind.parts)
