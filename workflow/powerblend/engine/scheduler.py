"""The loop: a row of the batch is a chain, and every step advances every row by one token.

A row that finishes a proposal decides at once and starts its chain's next one in the same step; a
chain that is done leaves, the last row moves into its slot, and waiting jobs take the free ones. No
row waits for another, and no prefix is computed twice.

On a GPU the next step is launched before the last one's outcome is looked at, so that the host
decides while the device computes; a row whose proposal was finished rests for that one step.

The scheduler asks of a model what `LanguageModel` says, of a sampler what `Decoding` says, and
nothing else, so a table of probabilities runs through the very same loop.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from powerblend.blends import Blend
from powerblend.engine import cuda_graphs
from powerblend.engine.batch import RESTED, Assignment, Batch, FinishedRow, StepInputs
from powerblend.engine.chain import Chain, Moves, Proposal, Schedule, Trace
from powerblend.engine.distributions import Draw, Logits
from powerblend.engine.randomness import Stream
from powerblend.engine.transfers import Download, upload

STEPS_AHEAD = {"cpu": 0, "cuda": 1}
"""Steps launched before the outcome of the last one is looked at."""

MAX_PADDING_TOKENS = {"cpu": 64, "cuda": 512}
"""In one pass of a prefill: about as many as take as long as reading the weights once more."""


class LanguageModel(Protocol):
    """What the loop needs of a model; `engine.model.Model` is one."""

    eos_token_ids: frozenset[int]
    device: torch.device
    own_lengths: bool
    """Whether a step looks at every row's own length, and is the same for all larger ones."""

    def cache(self, slots: int, capacity: int, prefix: Any = None) -> Any:
        """An empty cache with `save`, `restore` and `copy`, as `engine.cache.RaggedCache`.

        ``prefix``, saved from a slot of another cache, is what every row begins with.
        """

    def prefill(self, cache: Any, slots: slice, start: Tensor, tokens: Tensor) -> None:
        """Put tokens [rows, new] into the cache at positions start [rows] and on."""

    def prepare(self, cache: Any, inputs: StepInputs, answer_lengths: NDArray[np.int64]) -> None:
        """What a step needs that is not the same work at every step.

        ``answer_lengths`` are those of the inputs, known without asking the device.
        """

    def step(self, cache: Any, inputs: StepInputs, blend: Blend | None) -> Logits:
        """Feed one token to each of the first rows, return the logits of the next.

        On a GPU it is recorded, and so must not ask the device for anything.
        """


class Decoding(Protocol):
    """What the loop asks of a way of decoding; those of `powerblend.samplers` are such."""

    @property
    def max_new_tokens(self) -> int:
        """Longest answer, in tokens."""

    @property
    def blend(self) -> Blend | None:
        """What the target mixes in; None: the model alone."""

    def schedule(self) -> Schedule:
        """Stages and moves of a chain."""

    def draw(self, logits: Logits, uniforms: Tensor, current: Tensor) -> Draw:
        """One token per row, with its log-probabilities; on a GPU it is recorded with the step."""


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
    capacity: int = 0  # rows that were there, over all steps

    @property
    def occupancy(self) -> float:
        """Mean share of the rows that were at work."""
        return self.decoded_tokens / self.capacity if self.capacity else 0.0


@dataclass
class Slot:
    """A row's chain, with what is needed to undo its proposal."""

    job: Job
    chain: Chain
    row: int
    admitted: float  # clock time at which its share of the wall time began
    counted: Moves = field(default_factory=Moves)  # those of its moves that the tally has
    proposal: Proposal = field(init=False)
    saved: Any = field(init=False)  # the current suffix's part of the cache


class Launched(NamedTuple):
    """A step under way: whose rows it advances, and what it will have done for each."""

    slots: list[Slot]
    outcome: Download


class Step:
    """A step of the first rows, from the tokens fed to the tokens drawn, all on the device."""

    def __init__(self, model: LanguageModel, cache: Any, batch: Batch, sampler: Decoding) -> None:
        self._model, self._cache, self._batch, self._sampler = model, cache, batch, sampler

    def __call__(self, live: int, length: int) -> Tensor:
        """Draw the next token of every row that is at work; what was done for each, [live]."""
        inputs = self._batch.inputs(live, length)
        logits = self._model.step(self._cache, inputs, self._sampler.blend)
        uniforms, current = self._batch.pending(live)
        return self._batch.advance(self._sampler.draw(logits, uniforms, current), current)


class Scheduler:
    """Runs jobs through ``rows`` rows of a model, and adds what it does to ``tally``."""

    def __init__(
        self, model: LanguageModel, sampler: Decoding, jobs: Sequence[Job], rows: int, tally: Tally
    ) -> None:
        self.rows = min(rows, len(jobs))
        self.tally = tally
        self._model, self._sampler = model, sampler
        self._waiting = deque(jobs)
        self._num_steps, self._num_finished = 0, 0
        self._missed_turns = 0  # by free rows, since the last prefill
        self._slots: list[Slot] = []
        longest = max((len(job.prompt) for job in jobs), default=0)
        limit = sampler.max_new_tokens
        self._capacity = longest + limit
        self._shared = common_prefix([job.prompt for job in jobs])
        self._cache = model.cache(self.rows, self._capacity, self._prefix(jobs))
        eos, device = model.eos_token_ids, model.device
        self._batch = Batch(self.rows, limit, eos, device, resting=self._shared)
        self._step: cuda_graphs.StepFunction = Step(model, self._cache, self._batch, sampler)
        if cuda_graphs.pays_on(device):
            largest = (self.rows, self._capacity)
            multiple = self._capacity if model.own_lengths else cuda_graphs.LENGTH_MULTIPLE
            self._step = cuda_graphs.Recorded(
                self._step, self._batch.at_rest, largest, multiple, device
            )
        self._launched: deque[Launched] = deque()
        # Copies on the host of what the batch has on the device, to be read without waiting for it.
        self._positions, self._answer_lengths = np.zeros((2, self.rows), np.int64)
        self._clock = 0.0  # seconds of wall time per row, since the start

    def run(self) -> Iterator[list[Finished]]:
        """Yield, after every step, the chains that are done."""
        while self._admit():
            yield self._advance()

    @torch.inference_mode()
    def _advance(self) -> list[Finished]:
        """One step of every row; chains that finished a proposal decide, and begin the next."""
        started, live = time.perf_counter(), len(self._slots)
        self._launched.append(self._launch(live))
        ahead = len(self._launched) > STEPS_AHEAD[self._model.device.type]
        done = self._settle(self._launched.popleft()) if ahead else []
        self._clock += (time.perf_counter() - started) / live
        self._num_steps += 1
        self._num_finished += len(done)
        self.tally.chains += len(done)
        return [Finished(s.job, s.chain, self._clock - s.admitted) for s in done]

    def _launch(self, live: int) -> Launched:
        """Start a step of the first rows."""
        positions, answer_lengths = self._positions[:live], self._answer_lengths[:live]
        # The last token of the longest string is never fed.
        length = min(int(positions.max()) + 1, self._capacity - 1)
        self._batch.fence()
        self._model.prepare(self._cache, self._batch.inputs(live, length), answer_lengths)
        outcome = Download(self._step(live, length))
        positions += 1
        answer_lengths += 1
        self.tally.capacity += self.rows
        return Launched(list(self._slots), outcome)

    def _settle(self, launched: Launched) -> list[Slot]:
        """Let chains decide whose proposal a step has finished; the slots whose chain is done."""
        outcome = launched.outcome.wait()
        self.tally.decoded_tokens += int((outcome != RESTED).sum())
        finished = [(launched.slots[row], int(outcome[row])) for row in (outcome > 0).nonzero()[0]]
        if not finished:
            return []
        # The suffixes of all are read before `_remove` moves any row.
        suffixes = self._batch.finished(
            [FinishedRow(slot.row, slot.proposal.cut, stop) for slot, stop in finished]
        )
        for (slot, _), suffix in zip(finished, suffixes, strict=True):
            self._decide(slot, suffix)
        done = self._start_proposals([slot for slot, _ in finished])
        for slot in reversed(done):
            self._remove(slot)
        return done

    def _decide(self, slot: Slot, suffix: Trace) -> None:
        """Let a chain decide on its finished proposal, and undo one that is rejected."""
        if not slot.chain.decide(suffix):
            start = len(slot.job.prompt) + slot.proposal.cut
            self._cache.restore(slot.row, start, slot.saved)

    def _start_proposals(self, slots: Sequence[Slot]) -> list[Slot]:
        """Load the chains' next proposals into their rows; those that have none are done."""
        assignments = [self._propose(slot) for slot in slots]
        self._batch.load([assignment for assignment in assignments if assignment is not None])
        return [slot for slot, given in zip(slots, assignments, strict=True) if given is None]

    def _propose(self, slot: Slot) -> Assignment | None:
        """A chain's next proposal, with what it will overwrite saved; None if there is none."""
        proposal = slot.chain.propose()
        self._count_moves(slot)
        if proposal is None:
            return None
        slot.proposal = proposal
        prompt, row = slot.job.prompt, slot.row
        state, cut = slot.chain.state.tokens, proposal.cut
        start = len(prompt) + cut
        slot.saved = None  # so that the next save can have its memory
        # The state's last token was drawn but never fed: it has no keys yet.
        slot.saved = self._cache.save(row, start, max(start, len(prompt) + len(state) - 1))
        self._positions[row], self._answer_lengths[row] = start - 1, cut
        last_token = int(state[cut - 1]) if cut else int(prompt[-1])
        return Assignment(row, proposal, len(prompt), last_token)

    def _count_moves(self, slot: Slot) -> None:
        """Add the chain's new moves to the tally; some were decided without the model."""
        moves = slot.chain.moves
        self.tally.moves += moves.proposed - slot.counted.proposed
        self.tally.accepted += moves.accepted - slot.counted.accepted
        slot.counted = moves

    def _remove(self, slot: Slot) -> None:
        """Take a chain out and move the last row into its place."""
        last, row = self._slots.pop(), slot.row
        vacant = last.row
        if last is not slot:
            self._cache.copy(vacant, row, int(self._positions[vacant]))
            self._batch.move(vacant, row)
            self._positions[row] = self._positions[vacant]
            self._answer_lengths[row] = self._answer_lengths[vacant]
            self._slots[row] = last
            last.row = row
        self._batch.vacate(vacant)

    @torch.inference_mode()
    def _admit(self) -> bool:
        """Fill the free rows with waiting jobs; False when there is nothing left to run."""
        started, first = time.perf_counter(), len(self._slots)
        jobs = [self._waiting.popleft() for _ in range(self._num_to_admit())]
        if jobs:
            self._assign_rows(jobs)
            self._start_proposals(self._slots[first:])
        for slot in self._slots[first:]:
            slot.admitted -= (time.perf_counter() - started) / len(jobs)
        return bool(self._slots)

    def _num_to_admit(self) -> int:
        """How many jobs to admit now.

        A prefill of a few prompts takes as long as a step: both read all weights. So free rows wait
        for the next one if, by then, they will have missed fewer turns together than a step has:
        then waiting and prefills cost least a chain (the rule for ordering whole lots; Harris, "How
        many parts to make at once", 1913). The last jobs do not wait, nor do those whose prompt is
        a row's already.
        """
        free = min(self.rows - len(self._slots), len(self._waiting))
        until_next = self._num_steps / max(1, self._num_finished)
        pays = self._missed_turns + free * until_next < self.rows
        if self._slots and 0 < free < len(self._waiting) and pays:
            self._missed_turns += free
            prompts = {slot.job.prompt.tobytes() for slot in self._slots}
            copies = takewhile(lambda job: job.prompt.tobytes() in prompts, self._waiting)
            return len(list(islice(copies, free)))
        self._missed_turns = 0
        return free

    @torch.inference_mode()
    def _prefix(self, jobs: Sequence[Job]) -> Any:
        """The part that all prompts share, as few-shot examples, computed once."""
        if not self._shared:
            return None
        cache = self._model.cache(1, self._shared)
        self._prefill(cache, slice(0, 1), [jobs[0].prompt[: self._shared]], 0)
        return cache.save(0, 0, self._shared)

    def _assign_rows(self, jobs: Sequence[Job]) -> None:
        """Give each job a row: prefill its prompt, or copy that of a row which has the same.

        A row's prompt is never overwritten, so any row at work can be copied from.
        """
        rows = {slot.job.prompt.tobytes(): row for row, slot in enumerate(self._slots)}
        fresh = {job.prompt.tobytes(): job for job in jobs if job.prompt.tobytes() not in rows}
        for batch in _batches(list(fresh.values()), MAX_PADDING_TOKENS[self._model.device.type]):
            first = len(self._slots)
            prompts = [job.prompt[self._shared : -1] for job in batch]
            self._prefill(self._cache, slice(first, first + len(batch)), prompts, self._shared)
            for job in batch:
                rows[job.prompt.tobytes()] = self._take_row(job)
        prefilled = {id(job) for job in fresh.values()}
        for job in jobs:
            if id(job) not in prefilled:
                source, row = rows[job.prompt.tobytes()], self._take_row(job)
                self._cache.copy(source, row, len(job.prompt) - 1)

    def _take_row(self, job: Job) -> int:
        """Start a job's chain in the next free row."""
        chain = Chain(self._sampler.schedule(), job.stream, self._model.eos_token_ids)
        row = len(self._slots)
        self._slots.append(Slot(job, chain, row, self._clock))
        return row

    def _prefill(
        self, cache: Any, slots: slice, prompts: list[NDArray[np.int64]], start: int
    ) -> None:
        """Run prompts through the model, as one batch.

        The shorter ones are filled up: what lies behind a row's own tokens is never read.
        """
        tokens = np.zeros((len(prompts), max(map(len, prompts))), np.int64)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[: len(prompt)] = prompt
        if tokens.size:
            on_device = upload(tokens, self._model.device)
            self._model.prefill(cache, slots, torch.full((len(tokens),), start), on_device)


def _batches(jobs: Sequence[Job], padding: int) -> Iterator[list[Job]]:
    """Jobs in batches of prompts of like length, each with at most ``padding`` tokens of it."""
    batch: list[Job] = []
    padded = 0
    for job in sorted(jobs, key=lambda job: len(job.prompt)):
        padded += len(batch) * (len(job.prompt) - len(batch[-1].prompt)) if batch else 0
        if padded > padding:
            yield batch
            batch, padded = [], 0
        batch.append(job)
    if batch:
        yield batch


def common_prefix(prompts: Sequence[NDArray[np.int64]]) -> int:
    """Length of what all prompts begin with.

    A prompt's last token is not counted: it is fed by the first step, not by the prefill.
    """
    if not prompts:
        return 0
    length = min(map(len, prompts)) - 1
    first = prompts[0][:length]
    for prompt in prompts:
        differs = first[:length] != prompt[:length]
        length = int(differs.argmax()) if differs.any() else length
    return length
