"""The loop: a row of the batch is a chain, and every step advances every row by one token.

A row that finishes a proposal decides at once and starts its chain's next one in the same step; a
chain that is done leaves, the last row moves into its slot, and a waiting job takes the free one.
No row waits for another, nothing is padded, and no prefix is computed twice.

The scheduler asks of a model what `LanguageModel` says and nothing else, so a table of
probabilities runs through the very same loop.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from powerblend.blends import Blend
from powerblend.engine.chain import Chain, Proposal
from powerblend.engine.laws import Logits
from powerblend.engine.randomness import Stream
from powerblend.engine.rows import Rows
from powerblend.samplers import Sampler


class LanguageModel(Protocol):
    """What the loop needs of a model; `engine.model.Model` is one."""

    eos_token_ids: frozenset[int]
    device: torch.device

    def cache(self, slots: int, capacity: int) -> Any:
        """An empty cache with `save`, `restore` and `copy`, as `engine.cache.RaggedCache`."""

    def prefill(self, cache: Any, slots: slice, start: Tensor, tokens: Tensor) -> None:
        """Put tokens [rows, new] into the cache at positions start [rows] and on."""

    def step(
        self, cache: Any, tokens: Tensor, positions: Tensor, length: int, blend: Blend | None
    ) -> Logits:
        """Feed one token to each of the first rows, return the logits of the next."""


class Job(NamedTuple):
    """A chain to run: prompt [prompt_tokens], random stream and the caller's name for it."""

    prompt: NDArray[np.int64]
    stream: Stream
    name: Any


class Finished(NamedTuple):
    """A chain that is done, with its share of the wall time."""

    job: Job
    chain: Chain
    seconds: float


@dataclass
class Tally:
    """What has been done so far, for whoever watches."""

    chains: int = 0
    moves: int = 0
    accepted: int = 0
    decoded_tokens: int = 0
    steps: int = 0

    def occupancy(self, rows: int) -> float:
        """Mean share of the rows that were at work."""
        return self.decoded_tokens / (self.steps * rows) if self.steps else 0.0


@dataclass
class Slot:
    """A row's chain, with what is needed to undo its proposal."""

    job: Job
    chain: Chain
    admitted: float  # clock time at which its share of the wall time began
    proposal: Proposal = field(init=False)
    saved: Tensor = field(init=False)  # the current suffix's part of the cache


class Scheduler:
    """Runs jobs through ``rows`` rows of a model."""

    def __init__(
        self, model: LanguageModel, sampler: Sampler, jobs: Sequence[Job], rows: int
    ) -> None:
        self.rows = min(rows, len(jobs))
        self.tally = Tally()
        self._model, self._sampler = model, sampler
        self._waiting = iter(jobs)
        self._slots: list[Slot] = []
        longest = max((len(job.prompt) for job in jobs), default=0)
        limit = sampler.max_new_tokens
        self._cache = model.cache(self.rows, longest + limit)
        self._batch = Rows(self.rows, limit, model.eos_token_ids, model.device)
        # The device's positions again, on the host: the longest is needed at every step.
        self._positions = np.zeros(self.rows, np.int64)
        self._clock = 0.0  # seconds of wall time per row, since the start

    def run(self) -> Iterator[list[Finished]]:
        """Yield, after every step, the chains that it finished."""
        while self._admit():
            yield self._advance()

    @torch.inference_mode()
    def _advance(self) -> list[Finished]:
        """One step of every row, and the turns of those that finished a proposal."""
        started, live = time.perf_counter(), len(self._slots)
        done = [self._remove(row) for row in reversed(self._step(live)) if not self._turn(row)]
        self._clock += (time.perf_counter() - started) / live
        self.tally.chains += len(done)
        return [Finished(s.job, s.chain, self._clock - s.admitted) for s in done]

    def _step(self, live: int) -> list[int]:
        """Draw the next token of every row; the rows whose proposal is finished, in order."""
        batch = self._batch
        length = int(self._positions[:live].max()) + 1
        feed, positions = batch.feed[:live], batch.position[:live]
        logits = self._model.step(self._cache, feed, positions, length, self._sampler.blend)
        uniforms, current = batch.pending(live)
        finished = batch.advance(self._sampler.draw(logits, uniforms, current), current)
        self._positions[:live] += 1
        self.tally.steps += 1
        self.tally.decoded_tokens += live
        return finished

    def _turn(self, row: int) -> bool:
        """Decide a finished proposal and start the next; False if the chain is done."""
        slot = self._slots[row]
        cut = slot.proposal.cut
        accepted = slot.chain.decide(self._batch.finished(row, cut))
        if not accepted:
            self._cache.restore(row, len(slot.job.prompt) + cut, slot.saved)
        if len(slot.proposal.current):
            self.tally.moves += 1
            self.tally.accepted += accepted
        return self._start(row)

    def _start(self, row: int) -> bool:
        """Load the chain's next proposal into its row; False if there is none."""
        slot = self._slots[row]
        proposal = slot.chain.propose()
        if proposal is None:
            return False
        slot.proposal = proposal
        prompt, state, cut = slot.job.prompt, slot.chain.state.tokens, proposal.cut
        start = len(prompt) + cut
        # The state's last token was drawn but never fed: it has no keys yet.
        slot.saved = self._cache.save(row, start, max(start, len(prompt) + len(state) - 1))
        feed = int(state[cut - 1]) if cut else int(prompt[-1])
        self._batch.load(row, proposal, len(prompt), feed)
        self._positions[row] = start - 1
        return True

    def _remove(self, row: int) -> Slot:
        """Take a chain out and move the last row into its place."""
        removed, last = self._slots[row], len(self._slots) - 1
        if row != last:
            self._cache.copy(last, row, int(self._positions[last]))
            self._batch.copy(last, row)
            self._positions[row] = self._positions[last]
            self._slots[row] = self._slots[last]
        self._slots.pop()
        return removed

    @torch.inference_mode()
    def _admit(self) -> bool:
        """Fill the free rows with waiting jobs; False when there is nothing left to run."""
        started, first = time.perf_counter(), len(self._slots)
        jobs = list(islice(self._waiting, self.rows - first))
        for wave in self._waves(jobs):
            self._place(wave)
        for row in range(first, len(self._slots)):
            self._start(row)
        for slot in self._slots[first:]:
            slot.admitted -= (time.perf_counter() - started) / len(jobs)
        return bool(self._slots)

    def _waves(self, jobs: Iterable[Job]) -> Iterator[list[Job]]:
        """Order jobs so that whatever a prompt can share is in the cache before it comes."""
        prompts = {slot.job.prompt.tobytes() for slot in self._slots}
        fresh: list[Job] = []
        repeated: list[Job] = []
        for job in jobs:
            key = job.prompt.tobytes()
            (repeated if key in prompts else fresh).append(job)
            prompts.add(key)
        if fresh and not self._slots:
            yield [fresh.pop(0)]
        yield fresh
        yield repeated

    def _place(self, wave: list[Job]) -> None:
        """Give each job a row: copy what another row's prompt shares, prefill the rest.

        A row's prompt is never overwritten, so any row at work can be copied from: samples of one
        problem share a prompt, and problems share their few-shot examples.
        """
        shared = [(job, *self._donor(job.prompt)) for job in wave]

        def missing(entry: tuple[Job, int, int]) -> int:
            return len(entry[0].prompt) - 1 - entry[2]

        for count, group in groupby(sorted(shared, key=missing), key=missing):
            first = len(self._slots)
            entries = list(group)
            for row, (job, donor, length) in enumerate(entries, start=first):
                self._cache.copy(donor, row, length)
                chain = Chain(self._sampler.schedule(), job.stream, self._model.eos_token_ids)
                self._slots.append(Slot(job, chain, self._clock))
            if count:
                self._prefill(slice(first, len(self._slots)), entries)

    def _donor(self, prompt: NDArray[np.int64]) -> tuple[int, int]:
        """The row whose prompt shares the longest prefix with this one, and that length.

        A prompt's last token is not counted: it is fed by the first step, not by the prefill.
        """
        lengths = [_common_prefix(prompt, slot.job.prompt) for slot in self._slots]
        donor = int(np.argmax(lengths)) if lengths else 0
        return donor, lengths[donor] if lengths else 0

    def _prefill(self, slots: slice, entries: list[tuple[Job, int, int]]) -> None:
        start = torch.tensor([length for _, _, length in entries])
        tokens = np.stack([job.prompt[length:-1] for job, _, length in entries])
        device = self._model.device
        self._model.prefill(self._cache, slots, start, torch.from_numpy(tokens).to(device))


def _common_prefix(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """Length of the common prefix of two prompts without their last tokens."""
    length = min(len(a), len(b)) - 1
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length
