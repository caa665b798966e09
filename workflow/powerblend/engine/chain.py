"""One Metropolis-Hastings chain over token strings: pure bookkeeping, no torch, no model.

A chain says what to generate next (`Chain.propose`), is given what was generated
(`Chain.decide`), and keeps the state. Whoever runs it, a language model in a batch of hundreds or
a table of probabilities in a test, the chain is the same. `Chain.begin`, `Chain.finish` and
`Chain.advance` are a move in three parts, for chains that wait for one another (`ladder`) and for
moves of several proposals (`tries`).

Greedy decoding and plain sampling are chains too: one block and no moves.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from powerblend.engine.endings import Ending
from powerblend.engine.randomness import Role, Stream
from powerblend.engine.strings import PLAIN, Floats, Law, Trace


class Schedule(NamedTuple):
    """How a chain grows: ``blocks`` stages, each an extension followed by ``steps`` moves.

    ``skip`` and ``early`` save work and change no decision: a move follows the current string
    without the model for as long as its draws stay on it, and a proposal that can no longer be
    accepted is given up. ``early`` needs log weights that are never positive.
    """

    max_new_tokens: int
    blocks: int = 1
    steps: int = 0
    mh: Literal["exact", "published"] = "exact"
    skip: bool = True
    early: bool = False

    def cap(self, stage: int) -> int:
        """L_k, the longest string of stage k = ``stage``, in tokens."""
        return stage * (self.max_new_tokens // self.blocks)


class Proposal(NamedTuple):
    """What to generate next: tokens ``cut``, ``cut`` + 1, ... to the end or ``cap`` tokens in all.

    ``uniforms`` [cap - cut] are the draws' random numbers, and ``current`` is the suffix that the
    chain now holds: a draw stays on its token with the uniforms below the token's probability.
    The proposal may be given up once sum w - log S, over what is generated so far, S = ``mass`` of
    the tokens before the cut and that of what is generated (their number, where cuts are uniform),
    is below ``floor``. ``last`` is the token before its first, None where that is the prompt's
    last one. ``rung`` is the number of its exponent, ``keys`` are those of the string that it goes
    on from, and ``state`` is how much of a stop string that has before the cut (`endings`).
    """

    cut: int
    cap: int
    uniforms: Floats
    current: NDArray[np.int64]
    floor: float = -math.inf
    mass: float = 0.0
    last: int | None = None
    rung: int = 0
    keys: Any = None
    state: int = 0


class Moves(NamedTuple):
    """Counts of a chain's moves."""

    proposed: int = 0
    accepted: int = 0
    unchanged: int = 0
    early_rejected: int = 0


def log_acceptance(
    current: Trace, proposed: Trace, cut: int, mh: str = "exact", law: Law = PLAIN
) -> float:
    """Log of the Metropolis-Hastings ratio r of moving from ``current`` to ``proposed``.

    Both strings share their first ``cut`` tokens. ``exact`` is

        r = sum_{i>=m} w(y_i) - sum_{i>=m} w(x_i) + log S(x) - log S(y)

    over whole suffixes, the last two terms being the ratio of the probabilities h_m / S of choosing
    this cut: where cuts are uniform, S is the length. ``published`` reproduces the reference code
    of Karan & Du, "Reasoning with Sampling" (arXiv 2510.14901): the current sum stops at the
    proposal's length, and there are no length terms. It does not leave the target invariant; it is
    here for comparison.
    """
    gain = float(proposed.log_weight[cut:].sum())
    if mh == "published":
        return gain - float(current.log_weight[cut : len(proposed)].sum())
    cuts = math.log(law.cut_mass(current)) - math.log(law.cut_mass(proposed))
    return gain - float(current.log_weight[cut:].sum()) + cuts


class Chain:
    """A chain's state and its place in the schedule.

    Stage k holds the strings that end within L_k tokens and the strings of exactly L_k tokens that
    do not. Each stage extends the state to its cap with the proposal, then makes
    ``steps`` moves (block-wise power sampling, arXiv 2510.14901, Algorithm 1).
    """

    def __init__(
        self, schedule: Schedule, stream: Stream, ending: Ending, law: Law = PLAIN
    ) -> None:
        self.state = Trace.empty()
        self.decoded_tokens = 0
        self.moves = Moves()
        self.accepted_by_block: list[int] = []
        self.log_t_by_block: list[float] = []
        self.law = law
        self._schedule, self._stream, self._ending = schedule, stream, ending
        self._stage, self._step = 1, 0
        self._pending: list[Proposal] = []

    @property
    def ended(self) -> bool:
        """Whether the state has ended, with EOS or a stop string."""
        return self._has_ended(self.state)

    @property
    def moved(self) -> int:
        """Moves that changed the string."""
        return self.moves.accepted - self.moves.unchanged

    @property
    def done(self) -> bool:
        """Whether it has made its last move."""
        return self._stage > self._schedule.blocks

    @property
    def extending(self) -> bool:
        """Whether a stage's extension comes next, or is under way, and not one of its moves."""
        return self._step == 0

    def propose(self) -> Proposal | None:
        """The next stretch of tokens to generate, or None when the chain is done."""
        while not self.done:
            proposals = self.begin()
            if proposals:
                return proposals[0]
            self.advance()
        return None

    def decide(self, suffix: Trace) -> bool:
        """Take what was generated for the last proposal; True if it is part of the state now."""
        accepted = self.finish([suffix])
        self.advance()
        return accepted

    def begin(self) -> list[Proposal]:
        """What the next extension or move needs generated; nothing where the outcome is known.

        `finish` takes what was generated, and `advance` goes on to the next move.
        """
        if not self.extending:
            self._pending = self._move()
        else:
            self.accepted_by_block.append(0)
            self._pending = [] if self.ended else [self._extension()]
        return self._pending

    def finish(self, suffixes: Sequence[Trace]) -> bool:
        """Take what was generated; True if some of it is part of the state now."""
        if not self._pending:
            raise RuntimeError("decide() was called without a proposal to decide on")
        for suffix in suffixes:
            if not all(np.isfinite(column).all() for column in suffix[1:5]):
                raise FloatingPointError(
                    "the model gave a drawn token a log-probability of nan or inf"
                )
            self.decoded_tokens += len(suffix)
        pending, self._pending = self._pending, []
        proposed = [
            self.state.head(proposal.cut).then(self.law.read(suffix))
            for proposal, suffix in zip(pending, suffixes, strict=True)
        ]
        chosen = proposed[0] if self.extending else self._choose(proposed, pending)
        if chosen is None:
            return False
        self.state = chosen
        return True

    def advance(self) -> None:
        """Go on to the next move, or to the next stage."""
        self._step += 1
        if self._step <= self._schedule.steps:
            return
        self.log_t_by_block.append(self.state.log_t)
        published_stop = self._schedule.mh == "published" and self.ended
        self._stage = self._schedule.blocks + 1 if published_stop else self._stage + 1
        self._step = 0

    def _has_ended(self, string: Trace) -> bool:
        return self._ending.has_ended(string.tokens)

    def _extension(self) -> Proposal:
        cut, published = len(self.state), self._schedule.mh == "published"
        # The published code adds a block to a state that its moves may have shortened.
        cap = cut + self._schedule.cap(1) if published else self._schedule.cap(self._stage)
        return self._proposal(cut, cap, self._uniforms(self._stream, cap))

    def _move(self) -> list[Proposal]:
        """The move's proposal; none if it is the current state itself."""
        published = self._schedule.mh == "published"
        cap = len(self.state) if published else self._schedule.cap(self._stage)
        uniforms = self._uniforms(self._stream, cap)
        cut = self._leaves(uniforms, self._cut())
        if cut is None:
            self._count(accepted=True, unchanged=True)
            return []
        floor = self._floor(cut) if self._schedule.early else -math.inf
        return [self._proposal(cut, cap, uniforms, floor)]

    def _proposal(self, cut: int, cap: int, uniforms: Floats, floor: float = -math.inf) -> Proposal:
        """To go on from the state's first ``cut`` tokens; ``uniforms`` are those of [0, cap)."""
        return Proposal(
            cut,
            cap,
            uniforms[cut:],
            self.state.tokens[cut:],
            floor,
            self.law.cut_mass(self.state, cut),
            int(self.state.tokens[cut - 1]) if cut else None,
            self.law.rung,
            self.state.keys,
            self._ending.state(self.state.tokens[:cut]),
        )

    def _uniforms(self, stream: Stream, cap: int) -> Floats:
        return stream.uniforms(Role.TOKEN, self._stage, self._step, cap)

    def _cut(self) -> int:
        """Where the move cuts the state."""
        return self.law.cut(self.state, self._stream.uniform(Role.CUT, self._stage, self._step))

    def _leaves(self, uniforms: Floats, cut: int) -> int | None:
        """Where a draw from the cut on needs the model; None if it ends as the current state."""
        if not self._schedule.skip:
            return cut
        # Drawing from q is staying with probability q(x_i), which is known, or leaving x_i.
        leaves = uniforms[cut : len(self.state)] >= np.exp(self.state.log_q[cut:])
        return cut + int(leaves.argmax()) if leaves.any() else None

    def _floor(self, cut: int) -> float:
        """What sum w - log S of a proposal must reach to be accepted."""
        worth = float(self.state.log_weight[cut:].sum())
        return self._log_u() + worth - math.log(self.law.cut_mass(self.state))

    def _log_u(self) -> float:
        """Log of the uniform that decides the move."""
        # 1 - u is in (0, 1], so its log is finite.
        return math.log(1.0 - self._stream.uniform(Role.ACCEPT, self._stage, self._step))

    def _choose(self, proposed: Sequence[Trace], pending: Sequence[Proposal]) -> Trace | None:
        """What the move makes of the state; None where it stays."""
        (string,), (proposal,) = proposed, pending
        complete = self._complete(string, proposal)
        r = log_acceptance(self.state, string, proposal.cut, self._schedule.mh, self.law)
        accepted = complete and self._log_u() <= r
        unchanged = np.array_equal(string.tokens, self.state.tokens)
        self._count(accepted=accepted, unchanged=unchanged, early_rejected=not complete)
        return string if accepted else None

    def _complete(self, string: Trace, proposal: Proposal) -> bool:
        """Whether a proposed string was generated to its end, and not given up."""
        return len(string) == proposal.cap or self._has_ended(string)

    def _count(self, **outcome: bool) -> None:
        """Add a move to the counts."""
        before = self.moves
        counts = {name: getattr(before, name) + happened for name, happened in outcome.items()}
        self.moves = before._replace(proposed=before.proposed + 1, **counts)
        self.accepted_by_block[-1] += outcome["accepted"]
