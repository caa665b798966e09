"""The loop: a row of the batch is a string, and every step advances every row.

A row that finishes a proposal decides at once and starts its chain's next one in the same step; a
chain that is done leaves, the last row moves into its slot, and waiting jobs take the free ones. No
row waits for another, and no prefix is computed twice.

Where its next tokens can be guessed from what was written before (`guesses`), a row advances by
several tokens a step: each is drawn as ever, and a guess is kept where it is the token drawn. So
strings are those of one token a step, and there are fewer steps.

The strings of an answer that has several do wait for one another, their rows do not: a string that
has finished its proposal gives its row to the next one that is ready, of whatever answer, and takes
its keys along. They belong to the string: who drops it drops them, and who copies it shares them.

On a GPU the next step is launched before the last one's outcome is looked at, so that the host
decides while the device computes; a row whose proposal was finished rests for that one step. Where
a step is to check guesses, the host waits for the outcome instead: they go by what was drawn last.

The scheduler asks of a model what `LanguageModel` says, of a sampler what `Decoding` says, and
nothing else, so a table of probabilities runs through the very same loop.
"""

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any, Literal, NamedTuple, Protocol
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from powerblend.blends import Blend
from powerblend.engine import cuda_graphs
from powerblend.engine.batch import Assignment, Batch, FinishedRow, StepInputs
from powerblend.engine.chain import Chain, Moves, Proposal
from powerblend.engine.distributions import Draw, Logits
from powerblend.engine.endings import Ending
from powerblend.engine.guesses import (
    LONGEST_MATCH,
    MOST_GUESSED,
    WIDTHS,
    Guessing,
    Rates,
    Written,
    best_width,
    drafted,
)
from powerblend.engine.randomness import Stream
from powerblend.engine.rounds import Rounds
from powerblend.engine.strings import Trace
from powerblend.engine.transfers import Download, upload

STEPS_AHEAD = {"cpu": 0, "cuda": 1}
"""Steps launched before the outcome of the last one is looked at, where no guess is checked."""

MAX_PADDING_TOKENS = {"cpu": 64, "cuda": 512}
"""In one pass of a prefill: about as many as take as long as reading the weights once more."""

RIDGE = {"cpu": 16, "cuda": 256}
"""Tokens that add as much time to a step as it takes for none: reading the weights.

On a GPU in 16 bits a token takes 2 FLOP of every weight, for which 2 bytes are read: an H100, of
some 990 TFLOP/s and 3.35 TB/s, does so for 295 tokens meanwhile, an H200 for 206."""

MIN_CHANCE = 0.15
"""Of a guess to be right, below which it does not pay in a step of one row either."""

MOST_GUESSED_IN_STEP = {"cpu": 64, "cuda": RIDGE["cuda"]}
"""Tokens: each has its logits, and rows are chosen by the memory of one token's each.

On a GPU all that are fed count, and are no more than make a step take twice as long as none: so
nothing is guessed in more than 64 rows."""

Speculation = Literal["auto", "off"]
"""Whether next tokens are guessed where that is likely to save time; it changes no string."""


class LanguageModel(Protocol):
    """What the loop needs of a model; `engine.model.Model` is one."""

    eos_token_ids: frozenset[int]
    device: torch.device
    own_lengths: bool
    """Whether a step looks at every row's own length, and is the same for all larger ones."""

    @property
    def block_size(self) -> int | None:
        """What a step feeds to a row ends with a block of its answer; None: anywhere."""

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

    def drafted(self, cache: Any, rows: Sequence[int], firsts: Sequence[int]) -> list[list[int]]:
        """What is likely in blocks behind their first tokens' positions: ``block_size`` - 1 each.

        The blocks are those of a model whose ``block_size`` is not None.
        """

    def step(self, cache: Any, inputs: StepInputs, blend: Blend | None) -> Logits:
        """Feed tokens to each of the first rows, return the logits of what follows each of them.

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

    @property
    def strings(self) -> int:
        """How many rows an answer can use at once; 1: a chain, which keeps its row."""

    @property
    def columns(self) -> int:
        """How many columns a `Trace` of it has."""

    def answer(self, stream: Stream, ending: Ending) -> Chain | Rounds:
        """A new answer: a chain, or one of several strings."""

    def draw_rows(self, logits: Logits, uniforms: Tensor, current: Tensor, rung: Tensor) -> Draw:
        """One token per row, with its log-probabilities; on a GPU it is recorded with the step."""


class Job(NamedTuple):
    """An answer to make: prompt [prompt_tokens], random stream and the caller's name for it."""

    prompt: NDArray[np.int64]
    stream: Stream
    name: Any


class Finished(NamedTuple):
    """An answer that is done, with its share of the wall time and the steps it took part in."""

    job: Job
    answer: Chain | Rounds
    seconds: float
    passes: int


@dataclass
class Tally:
    """What has been done so far, for whoever watches."""

    chains: int = 0
    moves: int = 0
    accepted: int = 0
    decoded_tokens: int = 0
    guessed: int = 0  # tokens, wrong ones included
    guessed_right: int = 0
    busy: int = 0  # rows that were at work, over all steps
    capacity: int = 0  # rows that were there, over all steps

    @property
    def occupancy(self) -> float:
        """Mean share of the rows that were at work."""
        return self.busy / self.capacity if self.capacity else 0.0


@dataclass
class Running:
    """An answer under way; the last three fields are those of one of several strings."""

    job: Job
    answer: Chain | Rounds
    written: Written | None = None  # after its prompt, where tokens are guessed
    passes: int = 0  # steps in which it had a row at work
    counted: Moves = field(default_factory=Moves)  # those of its moves that the tally has
    seconds: float = 0.0  # of its strings in rows that they have left
    prompt_keys: Any = None
    came: dict[int, Trace] = field(default_factory=dict)  # what the round's proposals became
    asked: int = 0  # proposals of the round
    cancelled: bool = False  # nobody waits for it any more


class Ready(NamedTuple):
    """A proposal that waits for a row, with its number in its answer's round."""

    running: Running
    proposal: Proposal
    number: int


@dataclass
class Slot:
    """A row's string, with what is needed to undo its proposal."""

    running: Running
    row: int
    admitted: float  # clock time at which its share of the wall time began
    number: int = 0  # of its proposal in the answer's round
    proposal: Proposal = field(init=False)
    guessing: Guessing | None = field(default=None, init=False)
    drafted: tuple[int, list[int]] = field(default=(-1, []), init=False)  # of a block, by number
    saved: Any = field(default=None, init=False)  # the current suffix's part of the cache

    @property
    def prompt(self) -> NDArray[np.int64]:
        """Its answer's, whose keys the row has."""
        return self.running.job.prompt


class Prefilled(NamedTuple):
    """A prompt, and the keys of its tokens but the last."""

    prompt: NDArray[np.int64]
    keys: Any


class Launched(NamedTuple):
    """A step under way: whose rows it advances, and what it will have done for each.

    ``width`` is the number of tokens that it feeds to each row, where it is recorded.
    """

    slots: list[Slot]
    outcome: Download
    width: int


class Step:
    """A step of the first rows, from the tokens fed to the tokens drawn, all on the device."""

    def __init__(self, model: LanguageModel, cache: Any, batch: Batch, sampler: Decoding) -> None:
        self._model, self._cache, self._batch, self._sampler = model, cache, batch, sampler

    def __call__(self, live: int, length: int, width: int) -> Tensor:
        """Draw the next tokens of every row that is at work; what was done for each, [live, 3].

        A step that feeds ``width`` tokens to every row, and not 1, checks the guesses put for it.
        """
        if width > 1:
            self._batch.find_guesses(live, width)
        inputs = self._batch.inputs(live, length)
        logits = self._model.step(self._cache, inputs, self._sampler.blend)
        pending = self._batch.pending(live)
        return self._batch.advance(self._sampler.draw_rows(logits, *pending), pending.current)


class Scheduler:
    """Runs jobs through ``rows`` rows of a model, and adds what it does to ``tally``.

    With ``longest_prompt``, in tokens, it takes jobs while it runs (`submit`): `run` ends when
    there are none, and is called again when there are.
    """

    def __init__(
        self,
        model: LanguageModel,
        sampler: Decoding,
        jobs: Sequence[Job],
        rows: int,
        tally: Tally,
        ending: Ending,
        speculate: Speculation = "auto",
        longest_prompt: int | None = None,
    ) -> None:
        self.rows = min(rows, len(jobs) * sampler.strings) if longest_prompt is None else rows
        self.tally = tally
        self._model, self._sampler, self._ending = model, sampler, ending
        self._strings = sampler.strings
        self._waiting = deque(jobs)
        self._ready: deque[Ready] = deque()
        self._done: list[Running] = []  # in the step under way
        self._entered: list[Slot] = []  # strings that were given a row in it
        self._num_steps, self._num_finished = 0, 0
        self._missed_turns = 0  # by free rows, since the last prefill
        self._slots: list[Slot] = []
        longest = longest_prompt or max((len(job.prompt) for job in jobs), default=0)
        limit = sampler.max_new_tokens
        self._capacity = longest + limit
        self._shared = common_prefix([job.prompt for job in jobs])
        self._is_open = longest_prompt is not None
        self._latest: Prefilled | None = None  # kept while no row is at work, too
        self._cache = model.cache(self.rows, self._capacity, self._prefix(jobs))
        device = model.device
        self._recorded = cuda_graphs.pays_on(device)
        self._ahead, self._ridge = STEPS_AHEAD[device.type], RIDGE[device.type]
        self._most_guessed = MOST_GUESSED_IN_STEP[device.type]
        widest = max(WIDTHS) if self._recorded else 1
        self._batch = Batch(self.rows, limit, ending, device, self._shared, sampler.columns, widest)
        self._step: cuda_graphs.StepFunction = Step(model, self._cache, self._batch, sampler)
        if self._recorded:
            largest = (self.rows, self._capacity)
            multiple = self._capacity if model.own_lengths else cuda_graphs.LENGTH_MULTIPLE
            self._step = cuda_graphs.Recorded(
                self._step, self._batch.at_rest, largest, multiple, device
            )
        self._launched: deque[Launched] = deque()
        # Guesses go by the last step's outcome, and recorded steps alone wait for it where they do.
        able = self._recorded or not self._ahead
        self._speculates = speculate == "auto" and able
        self._rates = Rates()
        self._texts: WeakValueDictionary[bytes, Written] = WeakValueDictionary()
        # Copies on the host of what the batch has on the device, to be read without waiting for it.
        self._positions, self._answer_lengths = np.zeros((2, self.rows), np.int64)
        self._clock = 0.0  # seconds of wall time per row, since the start

    def run(self) -> Iterator[list[Finished]]:
        """Yield, after every step, the chains that are done."""
        while self._admit():
            yield self._advance()

    @property
    def waiting(self) -> int:
        """Jobs that have no row yet."""
        return len(self._waiting)

    def submit(self, job: Job) -> None:
        """Let a job wait for a row; its prompt is no longer than ``longest_prompt``."""
        self._waiting.append(job)

    @torch.inference_mode()
    def cancel(self, names: Collection[Any]) -> None:
        """Forget the jobs of these names, between two steps, and free their rows."""
        self._waiting = deque(job for job in self._waiting if job.name not in names)
        self._ready = deque(r for r in self._ready if r.running.job.name not in names)
        for slot in [slot for slot in self._slots if slot.running.job.name in names]:
            slot.running.cancelled = True
            self._remove(slot)

    @torch.inference_mode()
    def _advance(self) -> list[Finished]:
        """One step of every row; chains that finished a proposal decide, and begin the next.

        Where the next step had better check guesses, steps under way are looked at before it.
        """
        started, live = time.perf_counter(), len(self._slots)
        waits = bool(self._launched) and self._foresees_guesses()
        if not waits:
            self._launched.append(self._launch(live))
            waits = self._launched[-1].width > 1
        late = len(self._launched) > (0 if waits else self._ahead)
        left = self._settle(self._launched.popleft()) if late else []
        self._clock += (time.perf_counter() - started) / live
        for slot in left:
            slot.running.seconds += self._clock - slot.admitted
        for slot in self._entered:
            slot.admitted = self._clock
        done, self._done, self._entered = self._done, [], []
        self._num_finished += len(done)
        self.tally.chains += len(done)
        return [Finished(r.job, r.answer, r.seconds, r.passes) for r in done]

    def _launch(self, live: int) -> Launched:
        """Start a step of the first rows."""
        positions, answer_lengths = self._positions[:live], self._answer_lengths[:live]
        # The last token of the longest string is never fed.
        length = min(int(positions.max()) + 1, self._capacity - 1)
        self._batch.fence()
        self._model.prepare(self._cache, self._batch.inputs(live, length), answer_lengths)
        width = 1
        if self._may_guess() and not self._launched:
            if self._recorded:
                width = self._guess_evenly()
                length = max(length, int(positions.max()) + width)
            else:
                length = max(length, int((positions + self._guess()).max()) + 1)
        outcome = Download(self._step(live, length, width))
        positions += 1
        answer_lengths += 1
        self.tally.capacity += self.rows
        self._num_steps += 1
        return Launched(list(self._slots), outcome, width)

    def _may_guess(self) -> bool:
        """Whether guesses can pay in as many rows as are at work."""
        few = not self._recorded or max(self._widths()) > 1
        return self._speculates and few

    def _widths(self) -> list[int]:
        """How many tokens a recorded step may feed to each row, in as many as are at work."""
        rows = cuda_graphs.recorded_rows(len(self._slots), self.rows)
        return [width for width in WIDTHS if width == 1 or rows * width <= self._most_guessed]

    def _best_width(self, chances: Sequence[Sequence[float]]) -> int:
        """How many tokens a recorded step had better feed to each row, by `Guessing.foresee`.

        No row is fed past the end of the cache: what fills it up has no place behind that, and may
        have no position that the model knows.
        """
        live = len(self._slots)
        room = self._capacity - int(self._positions[:live].max())
        widths = [width for width in self._widths() if width <= room] or [1]
        rows = cuda_graphs.recorded_rows(live, self.rows)
        return best_width(chances, widths, rows, self._ridge)

    def _foresees_guesses(self) -> bool:
        """Whether guesses are likely to pay behind what the steps under way draw."""
        if not self._may_guess():
            return False
        return self._best_width(self._foreseen()) > 1

    def _foreseen(self) -> list[list[float]]:
        """By row, the chances of guesses of its next tokens, behind those of steps under way."""
        under_way, chances = len(self._launched), []
        for slot in self._slots:
            most = under_way + self._most_fed(slot, MOST_GUESSED)
            found = slot.guessing.foresee(self._rates, most) if slot.guessing else []
            chances.append(found[under_way:])
        return chances

    def _guess_evenly(self) -> int:
        """Put guesses for a recorded step, if they pay; how many tokens each row is to be fed.

        They are the strings' own: a draft is not asked. What fills a row up may lie behind a
        block's end, where it leaves keys that are written anew before they are read.
        """
        width = self._best_width(self._foreseen())
        if width > 1:
            guessing = (slot.guessing for slot in self._slots)
            guessed = [each.feed(width - 1) if each else [] for each in guessing]
            self._batch.put_guesses(guessed)
            self.tally.guessed += sum(map(len, guessed))
        return width

    def _guess(self) -> NDArray[np.int64]:
        """Let the next step check guesses of each row's next tokens; how many of each, [live]."""
        # A step that feeds n tokens takes time in proportion to n + RIDGE and yields one a row: a
        # guess pays if, for the time that it adds, it is likely to bring as many.
        live = len(self._slots)
        worth = max(live / (live + self._ridge), MIN_CHANCE)
        guessed: list[list[int]] = []
        left = self._most_guessed
        for slot in self._slots:
            guessed.append(self._guess_of(slot, worth, left))
            left -= len(guessed[-1])
        if self._model.block_size is not None:
            self._ask_draft(guessed, worth, left, self._model.block_size)
        self._batch.guess(guessed)
        counts = np.array([len(tokens) for tokens in guessed])
        self.tally.guessed += int(counts.sum())
        return counts

    def _guess_of(self, slot: Slot, worth: float, most: int) -> list[int]:
        """A row's next tokens, guessed as far as the chance that all are right is ``worth``."""
        most = self._most_fed(slot, most)
        return slot.guessing.guess(self._rates, worth, most) if slot.guessing else []

    def _most_fed(self, slot: Slot, most: int) -> int:
        """How many guesses, up to so many, may be fed to a row behind its last token."""
        block = self._model.block_size
        if block is None:
            return most
        # A block's first token is fed with none before it.
        return min(most, block - 1 - (int(self._answer_lengths[slot.row]) - 1) % block)

    def _ask_draft(self, guessed: list[list[int]], worth: float, left: int, block: int) -> None:
        """Let the draft guess for rows of whose next tokens their own strings say nothing."""
        asked = []
        for slot in (slot for slot in self._slots if slot.guessing and not guessed[slot.row]):
            number, offset = divmod(int(self._answer_lengths[slot.row]) - 1, block)
            # A block's last token is followed by one that the draft knows nothing of.
            if 0 <= offset < block - 1 and self._rates[drafted(offset + 1)] >= worth:
                asked.append((slot, number, offset))
        unknown = [(slot, n, offset) for slot, n, offset in asked if slot.drafted[0] != n]
        if unknown:
            rows = [slot.row for slot, _, _ in unknown]
            firsts = [int(self._positions[slot.row]) - offset for slot, _, offset in unknown]
            found = self._model.drafted(self._cache, rows, firsts)
            for (slot, number, _), tokens in zip(unknown, found, strict=True):
                slot.drafted = number, tokens
        for slot, _, offset in asked:
            if slot.guessing is not None:
                tokens = slot.drafted[1][offset:][:left]
                guess = slot.guessing.guess_drafted(tokens, offset + 1, self._rates, worth)
                guessed[slot.row] = guess
                left -= len(guess)

    def _count(self, slots: Sequence[Slot], drawn: Sequence[int], last: Sequence[int]) -> None:
        """Take note of how many tokens a step has drawn for each slot, and of the last of them."""
        at_work = [slot for slot, count in zip(slots, drawn, strict=True) if count]
        for running in {id(slot.running): slot.running for slot in at_work}.values():
            running.passes += 1
        self.tally.busy += len(at_work)
        self.tally.decoded_tokens += sum(drawn)
        for slot, count, token in zip(slots, drawn, last, strict=True):
            # A row that rested may have its next proposal, of which nothing is drawn yet.
            if slot.guessing is not None and count:
                self.tally.guessed_right += slot.guessing.drawn(count, token, self._rates)
                # Of the one token that is sure the launch took note.
                self._positions[slot.row] += count - 1
                self._answer_lengths[slot.row] += count - 1

    def _settle(self, launched: Launched) -> list[Slot]:
        """Let answers decide whose proposals a step has finished; the slots that left their row."""
        outcome, drawn, last = launched.outcome.wait().T.tolist()
        self._count(launched.slots, drawn, last)
        stopped = zip(launched.slots, outcome, strict=True)
        finished = [(s, stop) for s, stop in stopped if stop > 0 and not s.running.cancelled]
        if not finished:
            return []
        # The suffixes of all are read before `_remove` moves any row.
        suffixes = self._batch.finished(
            [FinishedRow(slot.row, slot.proposal.cut, stop) for slot, stop in finished]
        )
        for (slot, _), suffix in zip(finished, suffixes, strict=True):
            self._decide(slot, suffix)
        return self._go_on([slot for slot, _ in finished])

    def _decide(self, slot: Slot, suffix: Trace) -> None:
        """Let an answer have a finished proposal; a chain's that is rejected is undone."""
        answer = slot.running.answer
        if not isinstance(answer, Chain):
            self._collect(slot, suffix, answer)
        elif not answer.decide(suffix):
            self._cache.restore(slot.row, len(slot.prompt) + slot.proposal.cut, slot.saved)

    def _collect(self, slot: Slot, suffix: Trace, answer: Rounds) -> None:
        """Keep a string with its keys until its round's others have come."""
        running, stop = slot.running, slot.proposal.cut + len(suffix)
        # The prompt's last token was fed by the answer's first step; the string's never was.
        first = len(slot.prompt) - 1
        keys = self._cache.save(slot.row, first, first + stop)
        running.came[slot.number] = suffix.holding(keys)
        if len(running.came) == running.asked:
            answer.finish([running.came[number] for number in range(running.asked)])
            self._begin_round(running, answer)

    def _begin_round(self, running: Running, answer: Rounds) -> None:
        """Let an answer's next proposals wait for rows; if there are none, it is done."""
        proposals = answer.begin()
        self._count_moves(running)
        running.came, running.asked = {}, len(proposals)
        self._ready.extend(Ready(running, p, number) for number, p in enumerate(proposals))
        if not proposals:
            self._done.append(running)

    def _go_on(self, slots: Sequence[Slot]) -> list[Slot]:
        """Give rows whose proposal is finished the next one; the slots that left their row."""
        assignments = [self._next(slot) for slot in slots]
        self._batch.load([assignment for assignment in assignments if assignment is not None])
        given = list(zip(slots, assignments, strict=True))
        for slot, assignment in reversed(given):
            if assignment is None:
                self._remove(slot)
        staying = set(map(id, self._slots))
        return [slot for slot in slots if id(slot) not in staying]

    def _next(self, slot: Slot) -> Assignment | None:
        """A row's next proposal: its chain's, or that of a string that waits for a row."""
        if isinstance(slot.running.answer, Chain):
            return self._propose(slot, slot.running.answer)
        return self._enter(slot.row, slot.prompt) if self._ready else None

    def _propose(self, slot: Slot, chain: Chain) -> Assignment | None:
        """A chain's next proposal, with what it will overwrite saved; None if it is done."""
        proposal = chain.propose()
        self._count_moves(slot.running)
        if proposal is None:
            self._done.append(slot.running)
            return None
        slot.proposal = proposal
        start = len(slot.prompt) + proposal.cut
        slot.saved = None  # so that the next save can have its memory
        # The state's last token was drawn but never fed: it has no keys yet.
        stop = max(start, start + len(proposal.current) - 1)
        slot.saved = self._cache.save(slot.row, start, stop)
        return self._assign(slot)

    def _enter(self, row: int, held: NDArray[np.int64] | None) -> Assignment:
        """Put the next waiting string into a row; ``held`` is the prompt whose keys that has."""
        running, proposal, number = self._ready.popleft()
        slot = Slot(running, row, self._clock, number)
        slot.proposal = proposal
        self._slots[row:] = [slot, *self._slots[row + 1 :]]
        self._entered.append(slot)
        if held is None or not np.array_equal(held, slot.prompt):
            self._cache.restore(row, self._shared, running.prompt_keys)
        if proposal.keys is not None:
            self._cache.restore(row, len(slot.prompt) - 1, proposal.keys)
        return self._assign(slot)

    def _assign(self, slot: Slot) -> Assignment:
        """What the batch needs to know of a row's proposal."""
        proposal, prompt, row = slot.proposal, slot.prompt, slot.row
        slot.drafted = -1, []
        self._positions[row] = len(prompt) + proposal.cut - 1
        self._answer_lengths[row] = proposal.cut
        last_token = int(proposal.head[-1] if proposal.cut else prompt[-1])
        slot.guessing = None
        if self._may_guess():
            slot.guessing = Guessing(self._written(slot.running, proposal), prompt, proposal)
        return Assignment(row, proposal, len(prompt), last_token)

    def _count_moves(self, running: Running) -> None:
        """Add the answer's new moves to the tally; some were decided without the model."""
        moves = running.answer.moves
        self.tally.moves += moves.proposed - running.counted.proposed
        self.tally.accepted += moves.accepted - running.counted.accepted
        running.counted = moves

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
        self._fill_rows()
        started, first = time.perf_counter(), len(self._slots)
        jobs = [self._waiting.popleft() for _ in range(self._num_to_admit())]
        if jobs:
            self._assign_rows(jobs)
            self._start(self._slots[first:])
        for slot in self._slots[first:]:
            slot.running.seconds += (time.perf_counter() - started) / len(jobs)
        self._fill_rows()
        return bool(self._slots)

    def _fill_rows(self) -> None:
        """Give the free rows to strings that wait for one."""
        free = min(self.rows - len(self._slots), len(self._ready))
        self._batch.load([self._enter(len(self._slots), None) for _ in range(free)])

    def _start(self, slots: Sequence[Slot]) -> None:
        """Begin the answers that were given these rows."""
        for slot in slots:
            running, answer = slot.running, slot.running.answer
            if not isinstance(answer, Chain):
                keys = self._cache.save(slot.row, self._shared, len(slot.prompt) - 1)
                running.prompt_keys = keys
                self._begin_round(running, answer)
        self._go_on(slots)

    def _num_to_admit(self) -> int:
        """How many jobs to admit now.

        A prefill of a few prompts takes as long as a step: both read all weights. So free rows wait
        for the next one if, by then, they will have missed fewer turns together than a step has:
        then waiting and prefills cost least a chain (the rule for ordering whole lots; Harris, "How
        many parts to make at once", 1913). The last jobs do not wait, nor do those whose prompt is
        a row's already.
        """
        # An answer of several strings soon has several rows, and its prefill is rare.
        free_rows = self.rows - len(self._slots)
        free = min(-(-free_rows // self._strings), len(self._waiting))
        if self._strings > 1:
            return free
        until_next = self._num_steps / max(1, self._num_finished)
        pays = self._missed_turns + free * until_next < self.rows
        if self._slots and 0 < free < len(self._waiting) and pays:
            self._missed_turns += free
            prompts = {slot.prompt.tobytes() for slot in self._slots}
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
        rows = {slot.prompt.tobytes(): row for row, slot in enumerate(self._slots)}
        fresh = {job.prompt.tobytes(): job for job in jobs if job.prompt.tobytes() not in rows}
        for batch in _batches(list(fresh.values()), MAX_PADDING_TOKENS[self._model.device.type]):
            first = len(self._slots)
            start = self._copy_beginning([job.prompt for job in batch], first)
            prompts = [job.prompt[start:-1] for job in batch]
            self._prefill(self._cache, slice(first, first + len(batch)), prompts, start)
            for job in batch:
                rows[job.prompt.tobytes()] = self._take_row(job)
            if self._is_open:
                keys = self._cache.save(len(self._slots) - 1, 0, len(batch[-1].prompt) - 1)
                self._latest = Prefilled(batch[-1].prompt, keys)
        prefilled = {id(job) for job in fresh.values()}
        for job in jobs:
            if id(job) not in prefilled:
                source, row = rows[job.prompt.tobytes()], self._take_row(job)
                self._cache.copy(source, row, len(job.prompt) - 1)

    def _copy_beginning(self, prompts: Sequence[NDArray[np.int64]], first: int) -> int:
        """Give rows from ``first`` on what their prompts begin with; how many tokens each now has.

        Jobs that come while it runs have no prefix in common beforehand, but often one with each
        other, with a row at work or with those before, as a system prompt or worked examples.
        """
        if not self._is_open:
            return self._shared
        length, source = self._known_beginning(prompts, first)
        shared = common_prefix(prompts)
        # A pass for it alone reads the weights once more, and spares all rows but one its tokens.
        if (len(prompts) - 1) * (shared - length) > self._ridge:
            self._copy_prompt(source, [first], length)
            self._prefill(self._cache, slice(first, first + 1), [prompts[0][length:shared]], length)
            length, source = shared, first
        self._copy_prompt(source, range(first, first + len(prompts)), length)
        return length

    def _known_beginning(
        self, prompts: Sequence[NDArray[np.int64]], vacant: int
    ) -> tuple[int, int]:
        """How much of what prompts begin with has keys already, and which row has them."""
        alike = [(common_prefix([*prompts, slot.prompt]), slot.row) for slot in self._slots]
        length, source = max(alike, default=(0, vacant))
        if self._latest is not None:
            latest = common_prefix([*prompts, self._latest.prompt])
            if latest > length:
                self._cache.restore(vacant, 0, self._latest.keys)
                return latest, vacant
        return length, source

    def _copy_prompt(self, source: int, rows: Iterable[int], length: int) -> None:
        """Give rows the first tokens of another one, if there are any."""
        for row in rows if length else ():
            if row != source:
                self._cache.copy(source, row, length)

    def _take_row(self, job: Job) -> int:
        """Start a job's answer in the next free row."""
        answer = self._sampler.answer(job.stream, self._ending)
        row = len(self._slots)
        self._slots.append(Slot(Running(job, answer), row, self._clock))
        return row

    def _written(self, running: Running, proposal: Proposal) -> Written:
        """What all answers to a prompt have written, kept while one of them is under way.

        Of an answer that began in more rows than guesses pay for, it is the current string.
        """
        if running.written is None:
            prompt = running.job.prompt
            name = prompt.tobytes()
            written = self._texts.get(name)
            if written is None:
                written = self._texts[name] = Written(prompt)
            current = [*proposal.head.tolist(), *proposal.current.tolist()]
            written.extend(prompt[-LONGEST_MATCH:].tolist(), current)
            running.written = written
        return running.written

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
