"""What it would save to generate a chain's next proposal ahead, in a row that is free.

While a move is under way, what follows if it is rejected is known: the state stays, and with it the
next move's cut and uniforms. A row that is free could generate that, and be the chain's row from
then on. Where the next move leaves the state before the cut of the one under way, what it generates
is the same whatever becomes of that: it is foreseen. Nothing of this is built: the steps are those
of real runs, of which every proposal's are recorded, and the rest is computed.

A job has as many chains as rows, so rows are free at its end, or from the start with twice as many
rows. A free row goes on as its chain would if the move under way were rejected, move after move,
until that is decided; if the move is accepted, all is thrown away but a foreseen proposal. Free
rows go to the chains that have most left, where what is generated ahead is kept often enough, by
the engine's own rule for a guess. Two columns are of rows without end, which cost nothing:
``rejected`` begins all moves up to the next change of the state at once; ``any``, which nothing
that goes ahead can beat, begins a proposal as soon as the tokens before its cut are drawn, as if
its cut were known.

A step takes time in proportion to the tokens it is fed and a ridge. Recorded are three ways to run:
on the CPU with guesses and without, and as a GPU does, where a row rests for one step after each
proposal, and the ridge is 256. All that is assumed is in favour of what is not built: a proposal
takes as many steps ahead as it took (in truth there are fewer strings to guess from, and fewer
guesses in more rows); one whose step is thrown away is fed one token; which chain has most left is
known, and so is the share of steps beside which something is kept; prompts, copies of keys between
rows and their memory cost nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple
from unittest.mock import patch

from bench import demo_model, parser, prompts, rows_option, side_by_side, write_table
from numpy import int64
from numpy.typing import NDArray

from powerblend import load_model
from powerblend.api.generation import Run, requests_of
from powerblend.engine.chain import Chain
from powerblend.engine.endings import Ending
from powerblend.engine.randomness import Stream
from powerblend.engine.scheduler import RIDGE, STEPS_AHEAD, Job, Scheduler, Slot, Speculation
from powerblend.engine.strings import Trace
from powerblend.samplers import Power

LENGTH, ALPHA, BLOCKS, STEPS = 64, 4.0, 8, 2
DECODING = {"alpha": ALPHA, "max_new_tokens": LENGTH, "blocks": BLOCKS, "steps": STEPS}
WASTED = 1
"""Tokens that a step is fed whose proposal is thrown away: what it would guess is not known."""


class Way(NamedTuple):
    """A way to run: whether next tokens are guessed, steps launched ahead, and a step's ridge."""

    name: str
    speculate: Speculation
    ahead: int
    ridge: int


WAYS = (
    Way("CPU", "auto", 0, RIDGE["cpu"]),
    Way("CPU, no guesses", "off", 0, RIDGE["cpu"]),
    Way("GPU", "off", 1, RIDGE["cuda"]),
)


class Step(NamedTuple):
    """A step of one row: tokens that it was fed, and that it drew; none, where it rested."""

    fed: int
    drawn: int


class Generated(NamedTuple):
    """A proposal and what became of it: an extension always changes the state, a move may.

    ``foreseen`` if it is the same whatever becomes of the one before it.
    """

    cut: int
    is_move: bool
    changes: bool
    foreseen: bool
    steps: list[Step]


class RecordedChain(Chain):
    """A chain that keeps its proposals' steps; those decided without the model have none."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.history: list[Generated] = []
        self.under_way: list[Step] = []
        self._place_before = 0

    def finish(self, suffixes: Sequence[Trace]) -> bool:
        """Take what was generated, as ever."""
        (proposal,), is_move = self._pending, not self.extending
        place = self._stage * (1 + self._schedule.steps) + self._step
        # A cut is drawn by the state's length, and a move between them would depend on the state.
        foreseen = place == self._place_before + 1 and proposal.cut < self.history[-1].cut
        length = len(self.state) if is_move else proposal.cap
        changes = super().finish(suffixes)
        self.history.append(Generated(proposal.cut, is_move, changes, foreseen, self.under_way))
        self._place_before = place if len(self.state) == length else -1
        self.under_way = []
        return changes


class RecordedPower(Power):
    """Power sampling by such chains."""

    def answer(self, stream: Stream, ending: Ending) -> RecordedChain:
        """A chain that is recorded."""
        return RecordedChain(self.schedule(), stream, ending)


class RecordingScheduler(Scheduler):
    """A scheduler that tells chains their steps; ``fed`` is what each step was fed in all."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.fed: list[int] = []
        self._guessed: NDArray[int64] | None = None

    def _guess(self) -> NDArray[int64]:
        self._guessed = super()._guess()
        return self._guessed

    def _launch(self, live: int) -> Any:
        self._guessed = None
        launched = super()._launch(live)
        self.fed.append(live + (0 if self._guessed is None else int(self._guessed.sum())))
        return launched

    def _count(self, slots: Sequence[Slot], drawn: Sequence[int], last: Sequence[int]) -> None:
        guessed = [0] * len(slots) if self._guessed is None else self._guessed
        for slot, count, more in zip(slots, drawn, guessed, strict=True):
            if count:
                recorded: Any = slot.running.answer
                recorded.under_way.append(Step(1 + int(more), count))
        super()._count(slots, drawn, last)


class Outcome(NamedTuple):
    """Steps of a job, and the tokens fed in each."""

    fed: list[int]

    @property
    def passes(self) -> int:
        """How many steps there are."""
        return len(self.fed)

    def time(self, ridge: int) -> float:
        """In tokens' worth."""
        return sum(self.fed) + ridge * self.passes


@dataclass
class Place:
    """Where a row is in its chain's history: at a proposal, of which so many steps are made."""

    history: Sequence[Generated]
    at: int = 0
    made: int = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self.at == len(self.history)

    @property
    def steps_left(self) -> int:
        """Those of all that is left."""
        return sum(len(g.steps) for g in self.history[self.at :]) - self.made

    def step(self) -> tuple[int, Generated | None]:
        """Make a step; the tokens it is fed, and the proposal if it is its last step."""
        proposal = self.history[self.at]
        fed, self.made = proposal.steps[self.made].fed, self.made + 1
        if self.made < len(proposal.steps):
            return fed, None
        self.at, self.made = self.at + 1, 0
        return fed, proposal


@dataclass
class Replay:
    """A chain's row, and the one that goes ahead of it: as if the move under way were rejected."""

    row: Place
    ahead: Place | None = None

    @property
    def can_go_ahead(self) -> bool:
        """Whether a free row would be of use: an extension is never rejected."""
        at = self.row.at
        following = self.row.history[at : at + 2]
        return self.ahead is None and len(following) == 2 and can_follow(*following)

    def go_ahead(self) -> None:
        """Begin what follows if the move under way is rejected."""
        self.ahead = Place(self.row.history, self.row.at + 1)

    def step(self) -> int:
        """Make a step of both rows; the tokens that they are fed."""
        history, at = self.row.history, self.row.at
        fed, finished = self.row.step()
        if self.ahead is None:
            return fed
        if history[at].changes and not (history[at + 1].foreseen and self.ahead.at == at + 1):
            fed += WASTED if history[at].is_move else 0
        elif not self.ahead.done:
            fed += self.ahead.step()[0]
        if finished:
            kept = is_kept(history[at], history[at + 1])
            self.row, self.ahead = self.ahead if kept else self.row, None
        return fed


def can_follow(proposal: Generated, following: Generated) -> bool:
    """Whether what follows a proposal can be begun beside it."""
    return proposal.is_move or following.foreseen


def is_kept(proposal: Generated, following: Generated) -> bool:
    """Whether what is begun beside a proposal is what then follows it."""
    return following.foreseen or not proposal.changes


def main() -> None:
    """Record, compute and write the table."""
    options = parser(__doc__, repeats=1)
    rows_option(options, 1, 8, 13, 64)
    options.add_argument("--problems", type=int, default=104, help="(default 104)")
    options.add_argument("--jobs", type=int, default=13, help="most of a size (default 13)")
    chosen = options.parse_args()
    cases = [(way, chosen.rows, chosen.problems, chosen.jobs) for way in WAYS]
    table = [row for rows in side_by_side(compare, 1, cases) for row in rows]
    write_table(
        "prefetch",
        "The next proposal ahead, in a free row",
        table,
        f"SmolLM2-135M-Instruct in float32, α = {ALPHA:g}, {LENGTH} tokens, {BLOCKS} blocks × "
        f"{STEPS} steps. Passes are those of a job of as many chains as rows, as means of jobs. Of "
        "moves that the model decided: how many were accepted, the steps that these and the others "
        "took. Kept is the share of steps beside which a proposal could be generated ahead that "
        "is then used. Saved are shares of the modelled time of a job's steps: by rows that are "
        "free at the end; with twice as many rows, one free for every chain; and by rows without "
        "end that cost nothing.",
    )


def compare(way: Way, sizes: Sequence[int], problems: int, most: int) -> list[dict[str, Any]]:
    """A row of the table for each number of chains."""
    model, table = load_model(demo_model()), []
    for size in sizes:
        chats = prompts(problems)
        firsts = range(0, len(chats) - size + 1, size)[:most]
        jobs = [recorded(model, chats[first : first + size], way) for first in firsts]
        histories = [history for job in jobs for history in job]
        chance = chance_to_be_kept(histories)
        table.append(
            {"way": way.name, "chains": size, "jobs": len(jobs)}
            | of_moves(histories, way.ahead)
            | {"kept": chance}
            | savings(jobs, size, way.ridge, chance)
        )
    return table


def of_moves(histories: Sequence[Sequence[Generated]], rests: int) -> dict[str, Any]:
    """Columns of the table: moves that the model decided, and the steps that they took."""
    moves = [g for history in histories for g in history if g.is_move]
    accepted = [len(g.steps) - rests for g in moves if g.changes]
    rejected = [len(g.steps) - rests for g in moves if not g.changes]
    return {
        "accepted": len(accepted) / max(1, len(moves)),
        "steps if accepted": sum(accepted) / max(1, len(accepted)),
        "steps if rejected": sum(rejected) / max(1, len(rejected)),
    }


def chance_to_be_kept(histories: Sequence[Sequence[Generated]]) -> float:
    """That of a step made ahead: the share of steps beside one that is kept."""
    pairs = [pair for history in histories for pair in pairwise(history) if can_follow(*pair)]
    kept = sum(len(pair[0].steps) for pair in pairs if is_kept(*pair))
    return kept / max(1, sum(len(pair[0].steps) for pair in pairs))


def savings(
    jobs: Sequence[list[list[Generated]]], rows: int, ridge: int, chance: float
) -> dict[str, Any]:
    """Columns of the table: passes of a job without and with prefetching, and time saved."""
    plain = [replayed(job, len(job), ridge, 0.0) for job in jobs]
    at_end = [replayed(job, rows, ridge, chance) for job in jobs]
    doubled = [replayed(job, 2 * rows, ridge, chance) for job in jobs]
    passes = sum(outcome.passes for outcome in plain)
    time = sum(outcome.time(ridge) for outcome in plain)
    columns: dict[str, Any] = {"passes": passes / len(jobs)}
    for name, outcomes in (("at the end", at_end), ("twice the rows", doubled)):
        columns[f"passes, {name}"] = sum(outcome.passes for outcome in outcomes) / len(jobs)
        columns[f"saved, {name}"] = 1 - sum(outcome.time(ridge) for outcome in outcomes) / time
    for name, bound in (("rejected", if_all_are_rejected), ("any", whatever_is_decided)):
        least = sum(max(map(bound, job)) for job in jobs)
        columns[f"passes, {name}"] = least / len(jobs)
        # What is kept is fed all the same.
        columns[f"saved, {name}"] = ridge * (passes - least) / time
    return columns


def recorded(model: Any, chats: Sequence[Any], way: Way) -> list[list[Generated]]:
    """The chains of a job in as many rows: what each of them generated.

    Raises
    ------
    AssertionError
        If the chains, replayed without prefetching, do not take the very steps that the job took.
    """
    sampler = RecordedPower(sampler="power", **DECODING)
    run = Run(model, requests_of(model, chats, sampler, 1), sampler, 0, len(chats), way.speculate)
    with patch.dict(STEPS_AHEAD, {"cpu": way.ahead}):
        scheduler = scheduler_of(run, run._jobs)
        done = [finished.answer for some in scheduler.run() for finished in some]
    rest = [Step(1, 0)] * way.ahead
    histories = [
        [g._replace(steps=g.steps + rest) for g in answer.history]
        for answer in done
        if isinstance(answer, RecordedChain)
    ]
    assert replayed(histories, len(histories), way.ridge, 0.0).fed == scheduler.fed
    return histories


def scheduler_of(run: Run, jobs: Sequence[Job]) -> RecordingScheduler:
    """The run's, recording."""
    batch = run.rows, run.tally, run._ending, run._speculate
    return RecordingScheduler(run._model, run._sampler, jobs, *batch)


def replayed(job: Sequence[Sequence[Generated]], rows: int, ridge: int, chance: float) -> Outcome:
    """The steps of a job if free rows go ahead, whose every step is kept with this chance."""
    chains, fed = [Replay(Place(history)) for history in job], []
    while live := [chain for chain in chains if not chain.row.done]:
        busy = sum(1 if chain.ahead is None else 2 for chain in live)
        for chain in sorted(live, key=lambda chain: -chain.row.steps_left):
            # The rule by which the engine feeds a guess.
            pays = chance >= busy / (busy + ridge)
            if busy < rows and pays and chain.can_go_ahead:
                chain.go_ahead()
                busy += 1
        fed.append(sum(chain.step() for chain in live))
    return Outcome(fed)


def if_all_are_rejected(history: Sequence[Generated]) -> int:
    """Steps of a chain whose proposals begin with the state that they follow."""
    steps = longest = 0
    for proposal in history:
        longest = max(longest, len(proposal.steps))
        if proposal.changes:
            steps, longest = steps + longest, 0
    return steps + longest


def whatever_is_decided(history: Sequence[Generated]) -> int:
    """Steps of a chain whose proposals begin when the tokens before their cut are drawn."""
    drawn_at: list[int] = []  # by token of the state
    end = 0
    for proposal in history:
        start = drawn_at[proposal.cut - 1] if proposal.cut else 0
        rests = sum(not step.drawn for step in proposal.steps)
        numbered = enumerate(proposal.steps, start=start + 1 + rests)
        drawn = [number for number, step in numbered for _ in range(step.drawn)]
        end = max(end, start + len(proposal.steps))
        if proposal.changes:
            drawn_at = drawn_at[: proposal.cut] + drawn
    return end


if __name__ == "__main__":
    main()
