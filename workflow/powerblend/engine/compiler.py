"""Code for the processor at hand, by LLVM: what torch has no operation for. Needs no compiler.

A loop over vectors of numbers is written down with `Code` and compiled, in half a second, by
`compiled`. On one core and in float32 or float64; elsewhere torch's operations serve.
"""

import math
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from powerblend.engine.compiled_calls import Compiled

try:
    from llvmlite import binding, ir
except ImportError:  # then all is torch's
    binding = ir = None

DTYPES = (torch.float32, torch.float64)

TERMS_OF_EXP = {torch.float32: 8, torch.float64: 14}
"""Of its series, whose next one is below a rounding error where |x| < log(2) / 2."""


def serves(tensor: Tensor) -> bool:
    """Whether code of ours is best for such a tensor.

    With several threads torch is, which shares an operation out among them.
    """
    known = tensor.device.type == "cpu" and tensor.dtype in DTYPES
    return known and torch.get_num_threads() == 1 and _fuses()


@cache
def _fuses() -> bool:
    """Whether there is LLVM, and the processor multiplies and adds in one operation."""
    if binding is None:
        return False
    if platform.machine().lower() in ("arm64", "aarch64"):
        return True
    return bool(binding.get_host_cpu_features().get("fma"))


@cache
def lanes(dtype: torch.dtype) -> int:
    """Numbers in a vector register."""
    return (64 if _is_wide() else 32) // dtype.itemsize


@cache
def registers() -> int:
    """How many vector registers there are."""
    return 32 if _is_wide() else 16


def _is_wide() -> bool:
    return bool(binding.get_host_cpu_features().get("avx512f"))


def compiled(code: "Code", addresses: int, integers: int) -> Compiled:
    """A module's function ``main`` of so many addresses, then integers."""
    _write_from_words(code)
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly(str(code.module))
    target = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=3,
    )
    options = binding.create_pipeline_tuning_options(speed_level=2)
    passes = binding.create_pass_builder(target, options)
    passes.getModulePassManager().run(module, passes)
    engine = binding.create_mcjit_compiler(module, target)
    engine.finalize_object()
    main, from_words = map(engine.get_function_address, ("main", "from_words"))
    return Compiled(engine, main, from_words, addresses, integers)


def _write_from_words(code: "Code") -> None:
    """Beside ``main`` a function that reads its arguments from memory, word after word."""
    main = code.module.get_global("main")
    (words,) = code.function("from_words", [code.integers]).args
    build = code.build
    arguments = []
    for number, argument in enumerate(main.args):
        word = build.load(code.at(words, number))
        is_address = isinstance(argument.type, ir.PointerType)
        arguments.append(build.inttoptr(word, argument.type) if is_address else word)
    build.call(main, arguments)
    build.ret_void()


@cache
def caller() -> Compiled:
    """Calls functions in turn: of the address of records, how many, and the words of each.

    A record is the address of a ``from_words``, and its arguments.
    """
    code = Code(torch.float32)
    records, count, size = code.function("main", [code.integers, code.integer, code.integer]).args
    build = code.build
    kind = ir.FunctionType(ir.VoidType(), [code.integers]).as_pointer()
    with code.loop(code.integer(0), count, code.integer(1)) as (number, _, _):
        record = code.at(records, code.times(number, size))
        build.call(build.inttoptr(build.load(record), kind), [code.at(record, 1)])
    build.ret_void()
    return compiled(code, 1, 2)


class Code:
    """A module for one kind of number, and the words that its functions are written in."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.lanes = dtype, lanes(dtype)
        self.number = ir.FloatType() if dtype == torch.float32 else ir.DoubleType()
        self.vector = ir.VectorType(self.number, self.lanes)
        self.integer = ir.IntType(64)  # as wide as an address
        self.numbers, self.integers = self.number.as_pointer(), self.integer.as_pointer()
        self.module = ir.Module()
        self.module.triple = binding.get_default_triple()
        self.build: Any = None
        self._bits = 8 * dtype.itemsize

    def function(self, name: str, kinds: Sequence[Any]) -> Any:
        """A new function, whose first block is what is written next."""
        kind = ir.FunctionType(ir.VoidType(), kinds)
        function = ir.Function(self.module, kind, name)
        self.build = ir.IRBuilder(function.append_basic_block())
        return function

    @contextmanager
    def loop(
        self, start: Any, stop: Any, step: Any, kept: Sequence[Any] = ()
    ) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """From start to before stop: the counter, what is kept, and a list for its next values.

        What is kept is, after the loop, what it was last.
        """
        build = self.build
        head, body, after = (build.function.append_basic_block() for _ in range(3))
        before = build.block
        build.branch(head)
        build.position_at_end(head)
        counter = build.phi(self.integer)
        counter.add_incoming(start, before)
        values = [build.phi(value.type) for value in kept]
        build.cbranch(build.icmp_signed("<", counter, stop), body, after)
        build.position_at_end(body)
        following: list[Any] = []
        yield counter, list(values), following
        counter.add_incoming(build.add(counter, step), build.block)
        for value, first, later in zip(values, kept, following, strict=True):
            value.add_incoming(first, before)
            value.add_incoming(later, build.block)
        build.branch(head)
        build.position_at_end(after)

    def at(self, base: Any, *offsets: Any) -> Any:
        """An address some numbers further."""
        for offset in offsets:
            offset = self.integer(offset) if isinstance(offset, int) else offset
            base = self.build.gep(base, [offset])
        return base

    def load(self, place: Any) -> Any:
        """A vector, from any address."""
        return self.build.load(self._of_vectors(place), align=self.dtype.itemsize)

    def store(self, value: Any, place: Any) -> None:
        """Put a vector to any address."""
        self.build.store(value, self._of_vectors(place), align=self.dtype.itemsize)

    def prefetch(self, place: Any) -> None:
        """Bring an address, of anything or nothing, near."""
        address, choice = ir.IntType(8).as_pointer(), ir.IntType(32)
        fetch = self._declared("llvm.prefetch.p0i8", ir.VoidType(), [address, *3 * [choice]])
        reading, keeping, data = choice(0), choice(3), choice(1)
        self.build.call(fetch, [self.build.bitcast(place, address), reading, keeping, data])

    def _of_vectors(self, place: Any) -> Any:
        return self.build.bitcast(place, self.vector.as_pointer())

    def times(self, *factors: Any) -> Any:
        """A product of integers."""
        product = factors[0]
        for factor in factors[1:]:
            factor = self.integer(factor) if isinstance(factor, int) else factor
            product = self.build.mul(product, factor)
        return product

    def smaller(self, a: Any, b: Any) -> Any:
        """Of two integers."""
        return self.build.select(self.build.icmp_signed("<", a, b), a, b)

    def larger(self, a: Any, b: Any) -> Any:
        """Of two integers."""
        return self.build.select(self.build.icmp_signed(">", a, b), a, b)

    def parts(self, whole: Any, size: Any) -> Any:
        """How many parts of a size a number of things has, the last one being smaller."""
        last = self.build.sub(size, self.integer(1))
        return self.build.sdiv(self.build.add(whole, last), size)

    def constant(self, value: float) -> Any:
        """A vector of one number."""
        return ir.Constant(self.vector, self.lanes * [value])

    def spread(self, value: Any) -> Any:
        """A number in every place of a vector."""
        nothing, index = ir.Constant(self.vector, ir.Undefined), ir.IntType(32)
        first = self.build.insert_element(nothing, value, index(0))
        everywhere = ir.Constant(ir.VectorType(index, self.lanes), self.lanes * [0])
        return self.build.shuffle_vector(first, nothing, everywhere)

    def fused(self, a: Any, b: Any, c: Any) -> Any:
        """The vector a b + c, rounded once."""
        return self._call("fma", self.vector, a, b, c)

    def sums(self, value: Callable[[int], Any]) -> Any:
        """Of the numbers of as many vectors as a vector has numbers: a vector of these.

        ``value`` gives the vectors by their numbers, so that few are there at once. Two are added
        in such a way that the sum has half of its numbers from each, until it has one of each.
        """
        return self._sums(value, 0, self.lanes.bit_length() - 1)

    def _sums(self, value: Callable[[int], Any], first: int, levels: int) -> Any:
        if levels == 0:
            return value(first)
        half = 1 << (levels - 1)
        one, other = (self._sums(value, start, levels - 1) for start in (first, first + half))
        return self._halved(one, other, levels - 1)

    def _halved(self, one: Any, other: Any, level: int) -> Any:
        """Sums of halves of vectors that have the numbers of 2^level others each, side by side.

        Processors move numbers within 16 bytes, then 16 bytes as a whole, with the least effort.
        """
        count = self.lanes
        each = min(count, 16 // self.dtype.itemsize)  # numbers of 16 bytes
        if 1 << level < each:
            size = 1 << level
            # Of every 16 bytes the first half of the groups, one's and the other's in turns.
            low = [
                side * count + start + group * size + number
                for start in range(0, count, each)
                for group in range(each // size // 2)
                for side in (0, 1)
                for number in range(size)
            ]
            step = each // 2
        else:
            low = [
                side * count + start + number
                for side in (0, 1)
                for start in range(0, count, 2 * each)
                for number in range(each)
            ]
            step = each
        index = ir.VectorType(ir.IntType(32), count)
        halves = [
            self.build.shuffle_vector(one, other, ir.Constant(index, [n + shift for n in low]))
            for shift in (0, step)
        ]
        return self.build.fadd(*halves)

    def sum(self, value: Any) -> Any:
        """Of a vector's numbers, in the order of `sums`."""
        for level in range(self.lanes.bit_length() - 1):
            value = self._halved(value, value, level)
        return self.build.extract_element(value, ir.IntType(32)(0))

    def largest(self, value: Any) -> Any:
        """Of a vector's numbers."""
        kind = f"v{self.lanes}f{self._bits}"
        largest = self._declared(f"llvm.vector.reduce.fmax.{kind}", self.number, [self.vector])
        return self.build.call(largest, [value])

    def root(self, value: Any) -> Any:
        """The square root of a number."""
        root = self._declared(f"llvm.sqrt.f{self._bits}", self.number, [self.number])
        return self.build.call(root, [value])

    def exp(self, value: Any) -> Any:
        """Of a vector's numbers up to 0; 0 where it would not be a normal number.

        2^n e^r with n = round(x / log 2) and |r| <= log(2) / 2, e^r by its series.
        """
        build, lowest = self.build, math.log(torch.finfo(self.dtype).tiny)
        many = self._call("rint", self.vector, build.fmul(value, self.constant(1 / math.log(2))))
        # log 2 in two parts, of which n times the first is exact.
        high = math.floor(math.log(2) * 2**9) / 2**9
        low = float(math.log(2) - high)
        rest = self.fused(many, self.constant(-high), value)
        rest = self.fused(many, self.constant(-low), rest)
        terms = [1 / math.factorial(n) for n in range(TERMS_OF_EXP[self.dtype])]
        series = self.constant(terms[-1])
        for term in reversed(terms[:-1]):
            series = self.fused(series, rest, self.constant(term))
        whole = ir.VectorType(ir.IntType(self._bits), self.lanes)
        mantissa = {torch.float32: 23, torch.float64: 52}[self.dtype]
        shift = ir.Constant(whole, self.lanes * [mantissa])
        power = build.shl(build.fptosi(many, whole), shift)
        scaled = build.bitcast(build.add(build.bitcast(series, whole), power), self.vector)
        normal = build.fcmp_ordered(">", value, self.constant(lowest + 1))
        return build.select(normal, scaled, self.constant(0.0))

    def _call(self, name: str, kind: Any, *values: Any) -> Any:
        """An operation of LLVM's on vectors."""
        full = f"llvm.{name}.v{self.lanes}f{self._bits}"
        return self.build.call(self._declared(full, kind, len(values) * [kind]), values)

    def _declared(self, name: str, gives: Any, takes: Sequence[Any]) -> Any:
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(gives, takes), name)
