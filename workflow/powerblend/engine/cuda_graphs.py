"""Decode steps as CUDA graphs: a thousand kernels launched as one, so that the host keeps up.

A step, from the tokens fed to the tokens drawn, works on tensors that stay where they are in
memory. It is recorded once for each number of rows, rounded up to a power of two, each length,
rounded up to `LENGTH_MULTIPLE`, and each number of tokens fed to a row, and then replayed; rows
that are there only to fill up are at rest. Where kernels take the rows' lengths from the device
(`attention`), one length serves for all.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor

LENGTH_MULTIPLE = 512
"""Recorded lengths, in tokens, are multiples of this: rounding up costs reads of keys that no row
has, a further length costs a recording."""

WARM_UP_RUNS = 2
"""Runs before a recording, in which libraries choose their kernels."""

StepFunction = Callable[[int, int, int], Tensor]
"""Advances so many first rows, none longer than so many tokens, of which each is fed so many.

What it did for each row is [rows, ...].
"""


class Recording(NamedTuple):
    """A step that can be run again, and where it leaves its outcome."""

    replay: Callable[[], None]
    outcome: Tensor


class Recorded:
    """A step that is recorded and replayed; called as the step itself."""

    def __init__(
        self,
        step: StepFunction,
        at_rest: Callable[[], AbstractContextManager[None]],
        largest: tuple[int, int],
        length_multiple: int,
        device: torch.device,
    ) -> None:
        """``at_rest`` makes runs of the step harmless; ``largest`` are its most rows and length.

        Lengths are rounded up to multiples of ``length_multiple``.
        """
        self._step, self._at_rest = step, at_rest
        self._max_rows, self._max_length = largest
        self._length_multiple = length_multiple
        self._recordings: dict[tuple[int, int, int], Recording] = {}
        # One is replayed after the other, so that all can use the same memory; and libraries keep
        # memory for every stream that they have seen.
        on_gpu = device.type == "cuda"
        self._memory = torch.cuda.graph_pool_handle() if on_gpu else None
        self._stream = torch.cuda.Stream(device) if on_gpu else None

    def __call__(self, live: int, length: int, width: int) -> Tensor:
        """The outcome of a step, overwritten by the next."""
        multiple = self._length_multiple
        length = min(-(-length // multiple) * multiple, self._max_length)
        shape = recorded_rows(live, self._max_rows), length, width
        if shape not in self._recordings:
            with self._at_rest():
                recording = record(lambda: self._step(*shape), self._stream, self._memory)
            self._recordings[shape] = recording
        replay, outcome = self._recordings[shape]
        replay()
        return outcome[:live]


def recorded_rows(live: int, most: int) -> int:
    """How many rows a step of so many first ones is recorded for, in a batch of ``most``."""
    return min(1 << (live - 1).bit_length(), most)


def pays_on(device: torch.device) -> bool:
    """Whether steps are worth recording: on a GPU, always."""
    return device.type == "cuda"


def record(run: Callable[[], Tensor], stream: Any, memory: Any) -> Recording:
    """Capture a function of tensors that stay."""
    present = torch.cuda.current_stream(stream.device)
    stream.wait_stream(present)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        try:
            for _ in range(WARM_UP_RUNS):
                run()
        finally:
            # Where memory has ended, what is still under way must not write into what comes next.
            present.wait_stream(stream)
        with torch.cuda.graph(graph, pool=memory, stream=stream):
            outcome = run()
    return Recording(graph.replay, outcome)
