"""Calls of compiled loops, and many of them as one: what a CUDA graph is to a GPU.

A step of few rows is hundreds of loops, and what Python does between two of them takes as long as a
sixth of their arithmetic. Loops have addresses and integers for arguments, and nothing else. So a
function that calls loops only can be recorded, as these words, while none of them runs; then one
call runs them all. The first integer of such a loop is a number of rows: what is recorded with many
is run with any number up to that.
"""

import ctypes
import math
import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CACHE_LINE_BYTES = 64
"""What is fetched from memory at once."""


class Compiled:
    """A compiled function of addresses, of which it is given tensors, and of integers."""

    def __init__(
        self, engine: Any, place: int, place_from_words: int, addresses: int, integers: int
    ) -> None:
        """``engine`` owns the code: at two addresses, of which the second reads its arguments."""
        kinds = addresses * [ctypes.c_void_p] + integers * [ctypes.c_int64]
        self._function: Any = ctypes.CFUNCTYPE(None, *kinds)(place)
        self._engine, self._place_from_words = engine, place_from_words

    def __call__(self, tensors: Sequence[Tensor], *integers: int) -> None:
        """Run it, or take note of it within `recorded`."""
        addresses = [tensor.data_ptr() for tensor in tensors]
        recorder = _recorder.get()
        if recorder is None:
            self._function(*addresses, *integers)
        else:
            recorder.keep(self, *tensors)
            recorder.add([self._place_from_words, *addresses, *integers], 1 + len(addresses))


class NotRecorded(Exception):
    """A function does more than to call loops."""


class Memory:
    """Of tensors that last as long as a function that is recorded refers to them.

    One recording is run after the other, so that all can use the same.
    """

    def __init__(self) -> None:
        self._free: defaultdict[int, list[NDArray[np.uint8]]] = defaultdict(list)
        self._addresses: set[int] = set()

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._addresses

    def tensor(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A new tensor; where it and all its views are gone, its place is another's."""
        size = math.prod(shape) * dtype.itemsize
        free = self._free[size]
        block = free.pop() if free else _aligned(size)
        self._addresses.add(block.ctypes.data)
        numbers = block[:]
        weakref.finalize(numbers, free.append, block)
        return torch.from_numpy(numbers).view(dtype).view(*shape)


def _aligned(size: int) -> NDArray[np.uint8]:
    """So many bytes from the beginning of a cache line on."""
    block = np.empty(size + CACHE_LINE_BYTES, np.uint8)
    start = -block.ctypes.data % CACHE_LINE_BYTES
    return block[start : start + size]


class Recorder:
    """Takes note of calls instead of making them."""

    def __init__(self, rows: int, memory: Memory) -> None:
        self.memory, self.rows = memory, rows
        self._records: list[list[int]] = []
        self._rows_at: list[int] = []
        self.kept: list[Any] = []

    def keep(self, *used: Any) -> None:
        """Let what a call uses live as long as the recording, which has but addresses of it."""
        owned = (isinstance(one, Tensor) and one in self.memory for one in used)
        self.kept.extend(one for one, own in zip(used, owned, strict=True) if not own)

    def add(self, record: list[int], rows_at: int) -> None:
        """A call, and which of its words is the number of rows."""
        if record[rows_at] != self.rows:
            raise NotRecorded(f"a loop over {record[rows_at]} rows beside those over {self.rows}")
        self._records.append(record)
        self._rows_at.append(rows_at)

    def words(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The records, [calls, words], and where in each its rows are, [calls]."""
        longest = max(map(len, self._records))
        filled = [record + (longest - len(record)) * [0] for record in self._records]
        return np.array(filled, np.int64), np.array(self._rows_at)


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


class Recording:
    """Loops that are run as one, over the first of so many rows."""

    def __init__(self, recorder: Recorder, caller: Compiled) -> None:
        """``caller`` runs records (`compiler.caller`)."""
        self._words, self._rows_at = recorder.words()
        self._records = torch.from_numpy(self._words)
        self._each, self._caller, self._rows = np.arange(len(self._words)), caller, recorder.rows
        self._kept = recorder.kept

    def run(self, rows: int) -> None:
        """Run them for the first rows."""
        if rows != self._rows:
            self._words[self._each, self._rows_at] = rows
            self._rows = rows
        self._caller([self._records], *self._words.shape)


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor for a loop to fill, on the CPU."""
    recorder = _recorder.get()
    if recorder is None:
        return torch.empty(shape, dtype=dtype)
    return recorder.memory.tensor(shape, dtype)


@cache
def held(number: float, dtype: torch.dtype) -> Tensor:
    """A number in memory, [1], for a loop to read."""
    return torch.from_numpy(np.array([number], f"f{dtype.itemsize}"))


@contextmanager
def recorded(rows: int, memory: Memory) -> Iterator[Recorder]:
    """Within, loops over so many rows are noted and do not run; what else computes is refused.

    Raises
    ------
    NotRecorded
        Where anything is computed that is not a compiled loop: it would not be repeated.
    """
    recorder = Recorder(rows, memory)
    token = _recorder.set(recorder)
    try:
        with _LoopsOnly():
            yield recorder
    finally:
        _recorder.reset(token)


_VIEWS = {
    *(torch.ops.aten.view.default, torch.ops.aten.unflatten.int),
    *(torch.ops.aten.slice.Tensor, torch.ops.aten.select.int),
}
"""Operations of which it is known and need not be looked at, for there are thousands."""


class _LoopsOnly(TorchDispatchMode):
    """Refuses torch's operations that do more than to see a tensor in another way."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func._schema.is_mutable:
            raise NotRecorded(f"{func} is no compiled loop")
        output = func(*args, **(kwargs or {}))
        if func in _VIEWS:
            return output
        given = {_storage(value) for value in args}
        made = output if isinstance(output, (list, tuple)) else [output]
        # Nothing is the storage of what is no tensor, as a number that was read.
        if not {_storage(value) for value in made} <= given - {None}:
            raise NotRecorded(f"{func} is no compiled loop")
        return output


def _storage(value: Any) -> int | None:
    return value.untyped_storage().data_ptr() if isinstance(value, Tensor) else None
