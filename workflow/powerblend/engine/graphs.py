"""Decode steps as CUDA graphs: hundreds of kernels launched as one, so that the host keeps up.

A step is recorded once for each number of rows, rounded up to a power of two, and each length,
rounded up to `LENGTHS`; then it is replayed on new inputs. Rows that are there only to fill up feed
the cache's last position, which no chain ever reads. Kernels that take lengths from the device
(`attention`) look at what a row has, whatever the recorded length.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from powerblend.blends import Blend
from powerblend.engine.cache import RaggedCache
from powerblend.engine.laws import Logits
from powerblend.engine.model import Model
from powerblend.engine.rows import Feed

LENGTHS = 512
"""Recorded lengths are multiples of this: a longer one costs reading, a new one recording."""

WARM_UP = 2
"""Runs before a recording, in which libraries choose their kernels."""


class Recorded(NamedTuple):
    """A step on inputs and outputs that stay where they are in memory."""

    feed: Feed
    logits: Logits
    replay: Callable[[], None]


class Graphed:
    """A model on a GPU whose steps are recorded; an `engine.scheduler.LanguageModel`."""

    def __init__(self, model: Model) -> None:
        self.eos_token_ids, self.device = model.eos_token_ids, model.device
        self.tokenizer = model.tokenizer
        self._model = model
        self._recorded: WeakKeyDictionary[RaggedCache, dict[Any, Recorded]] = WeakKeyDictionary()

    def cache(self, slots: int, capacity: int, prefix: Tensor | None = None) -> RaggedCache:
        """An empty cache, in which recorded steps may write."""
        return self._model.cache(slots, capacity, prefix)

    def row_bytes(self, capacity: int) -> int:
        """Memory that a row of ``capacity`` tokens takes."""
        return self._model.row_bytes(capacity)

    def prefill(self, cache: RaggedCache, slots: slice, start: Tensor, tokens: Tensor) -> None:
        """Run tokens for their keys, as the model does."""
        self._model.prefill(cache, slots, start, tokens)

    @torch.inference_mode()
    def step(self, cache: RaggedCache, feed: Feed, blend: Blend | None = None) -> Logits:
        """Feed one token to each of the first rows and return the logits of the next.

        They are overwritten by the next step.
        """
        live = len(feed.tokens)
        rows = min(1 << (live - 1).bit_length(), cache.slots)
        length = min(-(-feed.length // LENGTHS) * LENGTHS, cache.capacity)
        steps = self._recorded.setdefault(cache, {})
        key = (rows, length, blend)
        if key not in steps:
            steps[key] = self._record(cache, rows, length, blend)
        recorded = steps[key]
        recorded.feed.positions[live:] = cache.capacity - 1
        for static, new in zip(recorded.feed[:3], feed[:3], strict=True):
            static[:live] = new
        recorded.replay()
        base, target = recorded.logits
        shared = target is base
        return Logits(base[:live], base[:live] if shared else target[:live])

    def _record(self, cache: RaggedCache, rows: int, length: int, blend: Blend | None) -> Recorded:
        def column(value: int) -> Tensor:
            return torch.full((rows,), value, dtype=torch.long, device=self.device)

        feed = Feed(column(0), column(cache.capacity - 1), column(0), length)
        replay, logits = record(lambda: self._model.step(cache, feed, blend))
        return Recorded(feed, logits, replay)


def wanted(model: Model) -> bool:
    """Whether a model's steps are worth recording: on a GPU, always."""
    return model.device.type == "cuda"


def record(run: Callable[[], Logits]) -> tuple[Callable[[], None], Logits]:
    """Capture a function of tensors that stay; what replays it, and where its outputs will be."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = run()
    return graph.replay, logits
