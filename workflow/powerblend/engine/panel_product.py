"""Products of rows with weights in panels, compiled for the processor that they run on.

    weight [outputs, inputs]   ->   panels [outputs / width, inputs, width], zeros to the end

A panel is as wide as two vector registers. Up to `ROWS_AT_ONCE` rows meet it together, their sums in
registers, so that weights are read once and in the order in which they lie in memory: a product of
six rows then takes little longer than that of one, where a library's takes twice as long or more
(benchmarks/products.py).

Every sum runs over the inputs in their order, so a row's product is the same to the last bit
whatever rows are beside it. LLVM compiles the code in half a second; no compiler is needed.
"""

import ctypes
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

try:
    from llvmlite import binding, ir
except ImportError:  # then products are torch's
    binding = None

ROWS_AT_ONCE = 6
"""Twelve sums, two weights and an input: as many as there are vector registers."""

NUMBERS_AT_ONCE = 2**18
"""Of the inputs' that are multiplied by one panel after the other: what a cache holds of them."""

DTYPES = (torch.float32, torch.float64)

Product = Callable[[int, int, int, int, int, int, int], None]
"""Of the addresses of rows, panels and outputs; rows, inputs, panels, and rows to take at once."""


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
        count, inputs, width = self.weights.shape
        rows, total, size = rows.contiguous(), len(rows), rows.itemsize
        filled = rows.new_empty(total, count * width)
        multiply, chunk = _compiled(rows.dtype), max(8 * ROWS_AT_ONCE, NUMBERS_AT_ONCE // inputs)
        first_row, first_output = rows.data_ptr(), filled.data_ptr()
        for start in range(0, total, chunk):
            number = min(chunk, total - start)
            multiply(
                first_row + start * inputs * size,
                self.weights.data_ptr(),
                first_output + start * count * width * size,
                number,
                inputs,
                count,
                # Evenly: 8 rows as 4 and 4, not as 6 and 2.
                -(-number // -(-number // ROWS_AT_ONCE)),
            )
        return filled if self.outputs == count * width else filled[:, : self.outputs].contiguous()


def serves(weight: Tensor) -> bool:
    """Whether a weight's products are best made here: on one core, whose code multiplies and adds.

    With several threads they are torch's, which shares a product out among them.
    """
    known = weight.device.type == "cpu" and weight.dtype in DTYPES
    return known and torch.get_num_threads() == 1 and _can_fuse()


@cache
def _can_fuse() -> bool:
    """Whether there is LLVM, and the processor multiplies and adds in one operation."""
    if binding is None:
        return False
    if platform.machine().lower() in ("arm64", "aarch64"):
        return True
    return bool(binding.get_host_cpu_features().get("fma"))


def panel_width(dtype: torch.dtype) -> int:
    """Numbers in a row of a panel: two vector registers."""
    wide = bool(binding.get_host_cpu_features().get("avx512f"))
    return 2 * (64 if wide else 32) // dtype.itemsize


@cache
def _compiled(dtype: torch.dtype) -> Product:
    """The product of one kind of number."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly(str(_Code(dtype).module))
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
    address, integer = ctypes.c_void_p, ctypes.c_int64
    signature = ctypes.CFUNCTYPE(None, *3 * [address], *4 * [integer])
    product: Any = signature(engine.get_function_address("product"))
    product.engine = engine  # which owns the code
    return product  # type: ignore[no-any-return]


class _Code:
    """The module of a product: a function for each number of rows, and one that calls them."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._half = panel_width(dtype) // 2
        self._number = ir.FloatType() if dtype == torch.float32 else ir.DoubleType()
        self._vector = ir.VectorType(self._number, self._half)
        self._integer = ir.IntType(64)
        self.module = ir.Module()
        self.module.triple = binding.get_default_triple()
        kind = ir.FunctionType(self._vector, 3 * [self._vector])
        name = f"llvm.fma.v{self._half}f{8 * dtype.itemsize}"
        self._fused = ir.Function(self.module, kind, name)
        blocks = [self._block(rows) for rows in range(1, ROWS_AT_ONCE + 1)]
        self._product(blocks)

    def _block(self, rows: int) -> Any:
        """So many rows with one panel: of addresses of rows, panel, outputs; inputs and outputs."""
        numbers, integer = self._number.as_pointer(), self._integer
        kind = ir.FunctionType(ir.VoidType(), 3 * [numbers] + 2 * [integer])
        function = ir.Function(self.module, kind, f"block_of_{rows}")
        function.linkage = "internal"
        first, panel, output, inputs, outputs = function.args
        build = ir.IRBuilder(function.append_basic_block())
        lines = [build.gep(first, [build.mul(inputs, integer(row))]) for row in range(rows)]
        zero = ir.Constant(self._vector, self._half * [0.0])
        with self._counted(build, inputs, integer(1), [zero] * (2 * rows)) as (at, sums, added):
            weights = build.gep(panel, [build.mul(at, integer(2 * self._half))])
            halves = [self._load(build, weights, half * self._half) for half in (0, 1)]
            for row, line in enumerate(lines):
                value = self._spread(build, build.load(build.gep(line, [at])))
                for half, weight in enumerate(halves):
                    total = sums[2 * row + half]
                    added.append(build.call(self._fused, [value, weight, total]))
        for place, total in enumerate(added):
            row, half = divmod(place, 2)
            line = build.gep(output, [build.mul(outputs, integer(row))])
            self._store(build, total, line, half * self._half)
        build.ret_void()
        return function

    def _product(self, blocks: list[Any]) -> None:
        """All rows with all panels, so many rows at once."""
        numbers, integer = self._number.as_pointer(), self._integer
        kind = ir.FunctionType(ir.VoidType(), 3 * [numbers] + 4 * [integer])
        function = ir.Function(self.module, kind, "product")
        first, panels, output, rows, inputs, count, at_once = function.args
        build = ir.IRBuilder(function.append_basic_block())
        width = integer(2 * self._half)
        outputs, size = build.mul(count, width), build.mul(inputs, width)
        with self._counted(build, count, integer(1), []) as (number, _, _):
            panel = build.gep(panels, [build.mul(number, size)])
            column = build.gep(output, [build.mul(number, width)])
            with self._counted(build, rows, at_once, []) as (row, _, _):
                left = build.sub(rows, row)
                here = build.select(build.icmp_signed("<", left, at_once), left, at_once)
                line = build.gep(first, [build.mul(row, inputs)])
                target = build.gep(column, [build.mul(row, outputs)])
                after = function.append_basic_block()
                choice = build.switch(here, after)
                for some, block in enumerate(blocks, 1):
                    choice.add_case(integer(some), case := function.append_basic_block())
                    build.position_at_end(case)
                    build.call(block, [line, panel, target, inputs, outputs])
                    build.branch(after)
                build.position_at_end(after)
        build.ret_void()

    @contextmanager
    def _counted(
        self, build: Any, stop: Any, step: Any, sums: list[Any]
    ) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        """A loop from 0 to ``stop``, at least once: the counter, sums, and a list of the next."""
        before, loop = build.block, build.function.append_basic_block()
        after = build.function.append_basic_block()
        build.branch(loop)
        build.position_at_end(loop)
        counter = build.phi(self._integer)
        counter.add_incoming(self._integer(0), before)
        kept = [build.phi(self._vector) for _ in sums]
        following: list[Any] = []
        yield counter, list(kept), following
        advanced = build.add(counter, step)
        counter.add_incoming(advanced, build.block)
        for phi, begins, goes_on in zip(kept, sums, following, strict=True):
            phi.add_incoming(begins, before)
            phi.add_incoming(goes_on, build.block)
        build.cbranch(build.icmp_signed("<", advanced, stop), loop, after)
        build.position_at_end(after)

    def _load(self, build: Any, base: Any, offset: int) -> Any:
        """A vector, from any address."""
        place = build.gep(base, [self._integer(offset)])
        return build.load(build.bitcast(place, self._vector.as_pointer()), align=4)

    def _store(self, build: Any, value: Any, base: Any, offset: int) -> None:
        """The same the other way."""
        place = build.gep(base, [self._integer(offset)])
        build.store(value, build.bitcast(place, self._vector.as_pointer()), align=4)

    def _spread(self, build: Any, value: Any) -> Any:
        """A number in every place of a vector."""
        nothing, index = ir.Constant(self._vector, ir.Undefined), ir.IntType(32)
        first = build.insert_element(nothing, value, index(0))
        everywhere = ir.Constant(ir.VectorType(index, self._half), self._half * [0])
        return build.shuffle_vector(first, nothing, everywhere)
