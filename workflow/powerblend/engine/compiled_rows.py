"""Norms, a gate, sums, rotation into the cache, and attention to it: compiled loops over rows.

torch has five to twenty operations for each of them, whose dispatch takes longer than a step of few
rows needs for their arithmetic. A row's result does not depend on the rows beside it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from powerblend.engine.compiled_calls import Compiled, empty, held
from powerblend.engine.compiler import Code, compiled, lanes, serves

WEIGHTED_AT_ONCE = 12
"""Vectors of weighted values that attention sums at once: so many registers are free."""


class Norm(nn.RMSNorm):
    """torch's RMS norm."""

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., width] in and out."""
        same = inputs.dtype == self.weight.dtype and inputs.shape[-1] == self.weight.numel()
        if not same or self.eps is None or not _fits(inputs, inputs.shape[-1]):
            return super().forward(inputs)
        inputs = inputs.contiguous()
        output, width = empty(inputs.shape, inputs.dtype), self.weight.numel()
        tensors = [inputs, self.weight, output, held(self.eps, inputs.dtype)]
        _norm(inputs.dtype)(tensors, inputs.numel() // width, width)
        return output


def gated(both: Tensor) -> Tensor:
    """silu(gate) * up of [..., gate and up side by side], [..., half as many]."""
    width = both.shape[-1] // 2
    if not _fits(both, width):
        gate, up = both.chunk(2, -1)
        return nn.functional.silu(gate) * up
    both = both.contiguous()
    output = empty([*both.shape[:-1], width], both.dtype)
    _gate(both.dtype)([both, output], output.numel() // width, width)
    return output


def added(one: Tensor, other: Tensor) -> Tensor:
    """The sum of tensors [..., width], of which the second may be [width], for all."""
    width = one.shape[-1]
    alike = one.dtype == other.dtype and other.shape in (one.shape, (width,))
    if not (alike and _fits(one, width) and _fits(other, width)):
        return one + other
    one, other = one.contiguous(), other.contiguous()
    output = empty(one.shape, one.dtype)
    between = 0 if other.ndim == 1 else width
    _add(one.dtype)([one, other, output], one.numel() // width, width, between)
    return output


class Where(NamedTuple):
    """Where attention's rows are: slots and positions, [rows] each, and the prefix's length."""

    slots: Tensor
    positions: Tensor
    start: int


class Angles(NamedTuple):
    """Cosines and sines of the rows' rotations, [rows, 1, width] each."""

    cos: Tensor
    sin: Tensor


class HeadNorms(NamedTuple):
    """RMS norms of queries and keys: weights [heads and kv_heads, width], and their epsilon."""

    weight: Tensor
    eps: float


def placed(
    by_head: Tensor,
    angles: Angles,
    own: tuple[Tensor, Tensor],
    where: Where,
    norms: HeadNorms | None,
) -> Tensor:
    """Queries [rows, heads, width], rotated; keys, rotated too, and values go into the cache.

    Parameters
    ----------
    by_head
        Heads of queries, of keys and of values of one token a row, [rows, heads + 2 kv_heads,
        width].
    angles
        Of the rows' tokens (Su et al. 2021, eq. 34; as `fused_layers.rotated` pairs numbers).
    own, where
        As of `attended`.
    norms
        What queries and keys pass before they are rotated.
    """
    keys, values = own
    rows, heads, width = by_head.shape
    kv_heads = keys.shape[1]
    query = empty([rows, heads - 2 * kv_heads, width], by_head.dtype)
    weight, eps = (query, 0.0) if norms is None else norms  # of no norm nothing is read
    tensors = [by_head, *angles, query, keys, values, where.slots, where.positions, weight]
    sizes = [rows, query.shape[1], kv_heads, where.start, *keys.stride()[:2]]
    loop = _placed(by_head.dtype, width, norms is not None)
    loop([*tensors, held(eps, by_head.dtype)], *sizes)
    return query


def places(
    by_head: Tensor, angles: Angles, own: tuple[Tensor, Tensor], norms: HeadNorms | None
) -> bool:
    """Whether `placed` serves, and `attended` what it returns."""
    rows, _, width = by_head.shape
    return (
        (norms is None or norms.weight.dtype == by_head.dtype)
        and all(
            angle.shape == (rows, 1, width)
            and angle.dtype == by_head.dtype
            and angle.is_contiguous()
            for angle in angles
        )
        and by_head.is_contiguous()
        and attends(by_head, *own)
        and width % (2 * lanes(by_head.dtype)) == 0
    )


def attends(query: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether `attended` serves queries [..., width] and the cache's, [..., positions, width].

    A layer of fewer heads or narrower ones than the cache has is not.
    """
    width = query.shape[-1]
    return (
        query.dtype == keys.dtype
        and _fits(query, width)
        and width == keys.shape[-1] == values.shape[-1] == keys.stride(-2)
    )


def attended(
    query: Tensor,
    own: tuple[Tensor, Tensor],
    prefix: tuple[Tensor, Tensor] | None,
    where: Where,
    scaling: float,
    window: int | None,
) -> Tensor:
    """Softmax attention of one token a row, [rows, heads, width], to what it may see.

    Parameters
    ----------
    query
        [rows, heads, width].
    own
        The cache's keys and values [slots, kv_heads, positions, width] behind the prefix.
    prefix
        Keys and values [kv_heads, start, width] that all slots begin with.
    where
        The rows' slots and positions.
    scaling, window
        What scores are multiplied by, and how many of the last tokens are seen; None: all.
    """
    query, (keys, values) = query.contiguous(), own
    rows, heads, width = query.shape
    kv_heads = keys.shape[1]
    before = prefix or own  # of no prefix nothing is read
    output = empty(query.shape, query.dtype)
    longest = where.start + keys.shape[2] + lanes(query.dtype)
    scores = empty([heads // kv_heads * longest], query.dtype)
    strides = [*keys.stride()[:2], *before[0].stride()[-3:-2]]
    sizes = [rows, kv_heads, longest, where.start, window or 2**40, *strides]
    tensors = [query, output, keys, values, *before, where.slots, where.positions, scores]
    loop = _attention(query.dtype, heads // kv_heads, width)
    loop([*tensors, held(scaling, query.dtype)], *sizes)
    return output


def _fits(tensor: Tensor, width: int) -> bool:
    """Whether compiled loops serve: none of them has a gradient, or ends within a vector."""
    learns = torch.is_grad_enabled() and tensor.requires_grad
    return not learns and serves(tensor) and width % lanes(tensor.dtype) == 0


@cache
def _norm(dtype: torch.dtype) -> Compiled:
    """Of the addresses of inputs, weight, outputs and epsilon; rows and their width."""
    code = Code(dtype)
    function = code.function("main", 4 * [code.numbers] + 2 * [code.integer])
    inputs, weight, output, eps, rows, width = function.args
    build, zero, step = code.build, code.integer(0), code.integer(code.lanes)
    with code.loop(zero, rows, code.integer(1)) as (row, _, _):
        line, target = (code.at(base, code.times(row, width)) for base in (inputs, output))
        with code.loop(zero, width, step, [code.constant(0.0)]) as (at, squares, added):
            value = code.load(code.at(line, at))
            added.append(code.fused(value, value, squares[0]))
        factor = _rms_factor(code, squares[0], build.sitofp(width, code.number), eps)
        with code.loop(zero, width, step) as (at, _, _):
            normed = build.fmul(code.load(code.at(line, at)), factor)
            value = build.fmul(normed, code.load(code.at(weight, at)))
            code.store(value, code.at(target, at))
    build.ret_void()
    return compiled(code, 4, 2)


def _rms_factor(code: Code, squares: Any, width: Any, eps: Any) -> Any:
    """What an RMS norm multiplies numbers by, in every place: of the sums of their squares."""
    mean = code.build.fdiv(code.sum(squares), width)
    root = code.root(code.build.fadd(mean, code.build.load(eps)))
    return code.spread(code.build.fdiv(code.number(1.0), root))


@cache
def _gate(dtype: torch.dtype) -> Compiled:
    """Of the addresses of gates beside ups, and outputs; rows and their outputs' width."""
    code = Code(dtype)
    function = code.function("main", 2 * [code.numbers] + 2 * [code.integer])
    inputs, output, rows, width = function.args
    build, zero, step = code.build, code.integer(0), code.integer(code.lanes)
    one = code.constant(1.0)
    with code.loop(zero, rows, code.integer(1)) as (row, _, _):
        line = code.at(inputs, code.times(row, width, 2))
        target = code.at(output, code.times(row, width))
        with code.loop(zero, width, step) as (at, _, _):
            gate, up = code.load(code.at(line, at)), code.load(code.at(line, at, width))
            # 1 / (1 + e^-g) = e^min(g, 0) / (1 + e^-|g|), whose exponents are not positive.
            positive = build.fcmp_ordered(">", gate, code.constant(0.0))
            small = code.exp(build.select(positive, build.fneg(gate), gate))
            share = build.fdiv(build.select(positive, one, small), build.fadd(one, small))
            code.store(build.fmul(build.fmul(gate, share), up), code.at(target, at))
    build.ret_void()
    return compiled(code, 2, 2)


@cache
def _add(dtype: torch.dtype) -> Compiled:
    """Of the addresses of summands and of sums; rows, their width, and how far the second's lie."""
    code = Code(dtype)
    args = code.function("main", 3 * [code.numbers] + 3 * [code.integer]).args
    one, other, output, rows, width, between = args
    zero, step = code.integer(0), code.integer(code.lanes)
    with code.loop(zero, rows, code.integer(1)) as (row, _, _):
        line, target = (code.at(base, code.times(row, width)) for base in (one, output))
        beside = code.at(other, code.times(row, between))
        with code.loop(zero, width, step) as (at, _, _):
            value = code.build.fadd(code.load(code.at(line, at)), code.load(code.at(beside, at)))
            code.store(value, code.at(target, at))
    code.build.ret_void()
    return compiled(code, 3, 3)


@cache
def _placed(dtype: torch.dtype, width: int, normed: bool) -> Compiled:
    """Of what `placed` passes."""
    code = Code(dtype)
    kinds = 6 * [code.numbers] + 2 * [code.integers] + 2 * [code.numbers] + 6 * [code.integer]
    args = code.function("main", kinds).args
    inputs, cos, sin, query, keys, values, slots, positions, weight, eps = args[:10]
    rows, heads, kv_heads, start, by_slot, by_kv_head = args[10:]
    build, zero, one = code.build, code.integer(0), code.integer(1)
    vectors = range(0, width, code.lanes)

    def loaded(base: Any) -> list[Any]:
        return [code.load(code.at(base, n)) for n in vectors]

    def rotate(head: Any, number: Any, target: Any, angles: Sequence[list[Any]]) -> None:
        """Norm a head by its weights, those of so many heads behind the first, and rotate it."""
        parts, (cosines, sines) = loaded(head), angles
        if normed:
            squares = code.constant(0.0)
            for part in parts:
                squares = code.fused(part, part, squares)
            factor = _rms_factor(code, squares, code.number(width), eps)
            weights = loaded(code.at(weight, code.times(number, width)))
            parts = [
                build.fmul(build.fmul(part, factor), by)
                for part, by in zip(parts, weights, strict=True)
            ]
        half = len(parts) // 2
        paired = [*(build.fneg(part) for part in parts[half:]), *parts[:half]]
        each = zip(vectors, parts, paired, cosines, sines, strict=True)
        for n, part, other, cosine, sine in each:
            value = code.fused(other, sine, build.fmul(part, cosine))
            code.store(value, code.at(target, n))

    with code.loop(zero, rows, one) as (row, _, _):
        slot, position = (build.load(build.gep(at, [row])) for at in (slots, positions))
        both = build.add(heads, kv_heads)
        line = code.at(inputs, code.times(row, build.add(both, kv_heads), width))
        angles = [loaded(code.at(base, code.times(row, width))) for base in (cos, sin)]
        with code.loop(zero, heads, one) as (head, _, _):
            target = code.at(query, code.times(build.add(code.times(row, heads), head), width))
            rotate(code.at(line, code.times(head, width)), head, target, angles)
        here = build.add(code.times(slot, by_slot), code.times(build.sub(position, start), width))
        with code.loop(zero, kv_heads, one) as (head, _, _):
            place = build.add(here, code.times(head, by_kv_head))
            number = build.add(heads, head)
            key = code.at(line, code.times(number, width))
            rotate(key, number, code.at(keys, place), angles)
            value = code.at(line, code.times(build.add(both, head), width))
            for n, part in zip(vectors, loaded(value), strict=True):
                code.store(part, code.at(values, place, n))
    build.ret_void()
    return compiled(code, 10, 6)


@cache
def _attention(dtype: torch.dtype, group: int, width: int) -> Compiled:
    """Of what `attended` passes, for so many queries to a head of keys."""
    return _Attention(dtype, group, width).compiled()


class _Attention:
    """The code of attention: of each row and head of keys, scores, their softmax, and values."""

    def __init__(self, dtype: torch.dtype, group: int, width: int) -> None:
        self._code, self._group, self._width = Code(dtype), group, width
        self._vectors = width // self._code.lanes

    def compiled(self) -> Compiled:
        """Compile it."""
        code = self._code
        kinds = 6 * [code.numbers] + 2 * [code.integers] + 2 * [code.numbers] + 8 * [code.integer]
        args = code.function("main", kinds).args
        query, output, *stores, slots, positions, scratch, scale = args[:10]
        rows, heads, longest, start, window, by_slot, by_head, by_prefix_head = args[10:]
        build, zero, one = code.build, code.integer(0), code.integer(1)
        self._longest = longest
        self._scale = code.build.load(scale)
        # Head after head: a cache holds the prefix's keys of one while all rows meet them.
        with (
            code.loop(zero, heads, one) as (head, _, _),
            code.loop(zero, rows, one) as (row, _, _),
        ):
            slot, position = (build.load(build.gep(at, [row])) for at in (slots, positions))
            seen = code.larger(zero, build.sub(build.add(position, one), window))
            first_own = code.larger(build.sub(seen, start), zero)
            end_own = build.sub(build.add(position, one), start)
            line = code.times(build.add(code.times(row, heads), head), self._group * self._width)
            at_own = build.add(code.times(slot, by_slot), code.times(head, by_head))
            at_prefix = code.times(head, by_prefix_head)
            keys, values = (
                [
                    (code.at(stores[2 + side], at_prefix), seen, start),
                    (code.at(stores[side], at_own), first_own, end_own),
                ]
                for side in (0, 1)
            )
            count = zero
            for part in keys:
                count = self._score(code.at(query, line), part, scratch, count)
            sums = self._softmax(scratch, count)
            self._weigh(values, scratch, sums, code.at(output, line))
        build.ret_void()
        return compiled(code, 10, 8)

    def _score(self, query: Any, part: Sequence[Any], scratch: Any, count: Any) -> Any:
        """Scores of a head's queries with some keys, behind so many; how many there are then.

        As many keys at once as a vector has numbers, then one by one, each summed the same way.
        """
        code, (keys, first, stop) = self._code, part
        build, several = code.build, code.integer(code.lanes)
        behind, many = build.sub(count, first), code.larger(build.sub(stop, first), code.integer(0))
        whole = build.add(first, code.times(build.sdiv(many, several), several))

        def queries(at: Any) -> Iterator[tuple[Callable[[int], Any], Any]]:
            """Of each its products with the keys from a place on, and where its scores go."""
            key, to = code.at(keys, code.times(at, self._width)), build.add(at, behind)
            for number in range(self._group):
                line = code.at(query, number * self._width)
                numbers = [code.load(code.at(line, n)) for n in range(0, self._width, code.lanes)]
                products = partial(self._products, numbers, key)
                yield products, code.at(scratch, code.times(self._longest, number), to)

        with code.loop(first, whole, several) as (at, _, _):
            for products, place in queries(at):
                code.store(build.fmul(code.sums(products), code.spread(self._scale)), place)
        with code.loop(whole, stop, code.integer(1)) as (at, _, _):
            for products, place in queries(at):
                build.store(build.fmul(code.sum(products(0)), self._scale), place)
        return build.add(count, many)

    def _products(self, numbers: Sequence[Any], keys: Any, number: int) -> Any:
        """A query's with one of the keys, added as far as to one vector."""
        code, total = self._code, self._code.constant(0.0)
        for n, part in enumerate(numbers):
            key = code.load(code.at(keys, number * self._width + n * code.lanes))
            total = code.fused(part, key, total)
        return total

    def _softmax(self, scratch: Any, count: Any) -> list[Any]:
        """Make scores exponentials, by query; their sums."""
        code, sums = self._code, []
        build, zero, step = code.build, code.integer(0), code.integer(code.lanes)
        lowest = code.constant(float("-inf"))
        for number in range(self._group):
            scores = code.at(scratch, code.times(self._longest, number))
            code.store(lowest, code.at(scores, count))
            with code.loop(zero, count, step, [lowest]) as (at, most, larger):
                value = code.load(code.at(scores, at))
                above = build.fcmp_ordered(">", value, most[0])
                larger.append(build.select(above, value, most[0]))
            highest = code.spread(code.largest(most[0]))
            with code.loop(zero, count, step, [code.constant(0.0)]) as (at, total, added):
                value = code.exp(build.fsub(code.load(code.at(scores, at)), highest))
                code.store(value, code.at(scores, at))
                added.append(build.fadd(total[0], value))
            sums.append(code.sum(total[0]))
        return sums

    def _weigh(
        self, parts: Sequence[Sequence[Any]], scratch: Any, sums: list[Any], output: Any
    ) -> None:
        """The values' means, by query."""
        code = self._code
        build, zero, one = code.build, code.integer(0), code.integer(1)
        at_once = max(1, WEIGHTED_AT_ONCE // self._group)
        for begin in range(0, self._vectors, at_once):
            vectors = range(begin, min(begin + at_once, self._vectors))
            totals = self._group * len(vectors) * [code.constant(0.0)]
            count = zero
            for values, first, stop in parts:
                behind = build.sub(count, first)
                with code.loop(first, stop, one, totals) as (at, kept, added):
                    value = code.at(values, code.times(at, self._width))
                    numbers = [code.load(code.at(value, n * code.lanes)) for n in vectors]
                    for query in range(self._group):
                        weights = code.at(scratch, code.times(self._longest, query))
                        place = code.at(weights, build.add(at, behind))
                        weight = code.spread(build.load(place))
                        for n, number in enumerate(numbers):
                            total = kept[query * len(vectors) + n]
                            added.append(code.fused(weight, number, total))
                totals = kept
                count = build.add(count, code.larger(build.sub(stop, first), zero))
            for place, total in enumerate(totals):
                query, n = divmod(place, len(vectors))
                target = code.at(output, query * self._width + (begin + n) * code.lanes)
                code.store(build.fdiv(total, code.spread(sums[query])), target)
