"""One Metropolis-Hastings chain over token strings: pure bookkeeping, no torch, no model.

A chain says what to generate next (`Chain.propose`), is given what was generated
(`Chain.decide`), and keeps the state. Whoever runs it, a language model in a batch of hundreds or
a table of probabilities in a test, the chain is the same.

Greedy decoding and plain sampling are chains too: one block and no moves.
"""

import math
from collections.abc import Collection
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from powerblend.engine.randomness import Role, Stream

Floats = NDArray[np.float64]


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


class Trace(NamedTuple):
    """A string of tokens, and of each its log-probabilities when it was drawn; all arrays are [n].

    ``log_p`` is under the base model and ``log_q`` under the proposal; ``log_weight``, w in
    formulas, is log t - log q, which is all that a Metropolis-Hastings decision needs of a token.
    """

    tokens: NDArray[np.int64]
    log_p: Floats
    log_q: Floats
    log_weight: Floats

    @classmethod
    def empty(cls) -> "Trace":
        """The string of no tokens."""
        return cls(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0))

    def __len__(self) -> int:
        return len(self.tokens)

    def head(self, cut: int) -> "Trace":
        """The first ``cut`` tokens."""
        return Trace(self.tokens[:cut], self.log_p[:cut], self.log_q[:cut], self.log_weight[:cut])

    def tail(self, cut: int) -> "Trace":
        """Everything from token ``cut`` on."""
        return Trace(self.tokens[cut:], self.log_p[cut:], self.log_q[cut:], self.log_weight[cut:])

    def then(self, suffix: "Trace") -> "Trace":
        """The tokens of this string, then those of another."""
        return Trace(*(np.concatenate(pair) for pair in zip(self, suffix, strict=True)))

    @property
    def log_t(self) -> float:
        """Log target of the whole string, unnormalised."""
        return float(self.log_q.sum() + self.log_weight.sum())


class Proposal(NamedTuple):
    """What to generate next: tokens ``cut``, ``cut`` + 1, ... until EOS or ``cap`` tokens in all.

    ``uniforms`` [cap - cut] are the draws' random numbers, and ``current`` is the suffix that the
    chain now holds: a draw stays on its token with the uniforms below the token's probability.
    The proposal may be given up once sum w - log(length), over what is generated so far and the
    length of the whole string, is below ``floor``.
    """

    cut: int
    cap: int
    uniforms: Floats
    current: NDArray[np.int64]
    floor: float = -math.inf


class Moves(NamedTuple):
    """Counts of a chain's moves."""

    proposed: int = 0
    accepted: int = 0
    unchanged: int = 0
    early_rejected: int = 0


def log_acceptance(current: Trace, proposed: Trace, cut: int, mh: str = "exact") -> float:
    """Log of the Metropolis-Hastings ratio r of moving from ``current`` to ``proposed``.

    Both strings share their first ``cut`` tokens. ``exact`` is

        r = sum_{i>=m} w(y_i) - sum_{i>=m} w(x_i) + log|x| - log|y|

    over whole suffixes, the last two terms being the ratio of the probabilities 1/|y| and 1/|x| of
    choosing this cut. ``published`` reproduces the reference code of Karan & Du, "Reasoning with
    Sampling" (arXiv 2510.14901): the current sum stops at the proposal's length, and there are no
    length terms. It does not leave the target invariant; it is here for comparison.
    """
    gain = float(proposed.log_weight[cut:].sum())
    if mh == "published":
        return gain - float(current.log_weight[cut : len(proposed)].sum())
    cuts = math.log(len(current)) - math.log(len(proposed))
    return gain - float(current.log_weight[cut:].sum()) + cuts


class Chain:
    """A chain's state and its place in the schedule.

    Stage k holds the strings that end with EOS within L_k tokens and the strings of exactly L_k
    tokens without EOS. Each stage extends the state to its cap with the proposal, then makes
    ``steps`` moves (block-wise power sampling, arXiv 2510.14901, Algorithm 1).
    """

    def __init__(self, schedule: Schedule, stream: Stream, eos: Collection[int]) -> None:
        self.state = Trace.empty()
        self.decoded_tokens = 0
        self.moves = Moves()
        self.accepted_by_block: list[int] = []
        self.log_t_by_block: list[float] = []
        self._schedule, self._stream, self._eos = schedule, stream, frozenset(eos)
        self._stage, self._step = 1, 0
        self._pending: Proposal | None = None

    @property
    def ended(self) -> bool:
        """Whether the state's last token is EOS."""
        return len(self.state) > 0 and int(self.state.tokens[-1]) in self._eos

    def propose(self) -> Proposal | None:
        """The next stretch of tokens to generate, or None when the chain is done."""
        while self._stage <= self._schedule.blocks:
            if self._step == 0:
                self.accepted_by_block.append(0)
                if not self.ended:
                    return self._extension()
            else:
                proposal = self._move()
                if proposal is not None:
                    return proposal
                self._count(accepted=True, unchanged=True)
            self._advance()
        return None

    def decide(self, suffix: Trace) -> bool:
        """Take what was generated for the last proposal; True if it is part of the state now."""
        if self._pending is None:
            raise RuntimeError("decide() was called without a proposal to decide on")
        if not all(np.isfinite(column).all() for column in suffix[1:]):
            raise FloatingPointError("the model gave a drawn token a log-probability of nan or inf")
        pending, self._pending = self._pending, None
        self.decoded_tokens += len(suffix)
        proposed = self.state.head(pending.cut).then(suffix)
        accepted = self._step == 0 or self._accepts(proposed, pending)
        if accepted:
            self.state = proposed
        self._advance()
        return accepted

    def _extension(self) -> Proposal:
        cut, published = len(self.state), self._schedule.mh == "published"
        # The published code adds a block to a state that its moves may have shortened.
        cap = cut + self._schedule.cap(1) if published else self._schedule.cap(self._stage)
        uniforms = self._stream.uniforms(Role.TOKEN, self._stage, self._step, cap)
        self._pending = Proposal(cut, cap, uniforms[cut:], self.state.tokens[cut:])
        return self._pending

    def _move(self) -> Proposal | None:
        """The move's proposal, or None if it is the current state itself."""
        length = len(self.state)
        published = self._schedule.mh == "published"
        cap = length if published else self._schedule.cap(self._stage)
        uniforms = self._stream.uniforms(Role.TOKEN, self._stage, self._step, cap)
        cut = int(self._stream.uniform(Role.CUT, self._stage, self._step) * length)
        if self._schedule.skip:
            # Drawing from q is staying with probability q(x_i), which is known, or leaving x_i.
            leaves = uniforms[cut:length] >= np.exp(self.state.log_q[cut:])
            if not leaves.any():
                return None
            cut += int(leaves.argmax())
        floor = self._floor(cut) if self._schedule.early else -math.inf
        self._pending = Proposal(cut, cap, uniforms[cut:], self.state.tokens[cut:], floor)
        return self._pending

    def _floor(self, cut: int) -> float:
        """What sum w - log(length) of a proposal must reach to be accepted."""
        return self._log_u() + float(self.state.log_weight[cut:].sum()) - math.log(len(self.state))

    def _log_u(self) -> float:
        """Log of the uniform that decides the move."""
        # 1 - u is in (0, 1], so its log is finite.
        return math.log(1.0 - self._stream.uniform(Role.ACCEPT, self._stage, self._step))

    def _accepts(self, proposed: Trace, pending: Proposal) -> bool:
        complete = len(proposed) == pending.cap or int(proposed.tokens[-1]) in self._eos
        r = log_acceptance(self.state, proposed, pending.cut, self._schedule.mh)
        accepted = complete and self._log_u() <= r
        unchanged = np.array_equal(proposed.tokens, self.state.tokens)
        self._count(accepted=accepted, unchanged=unchanged, early_rejected=not complete)
        return accepted

    def _count(self, **outcome: bool) -> None:
        """Add a move to the counts."""
        before = self.moves
        counts = {name: getattr(before, name) + happened for name, happened in outcome.items()}
        self.moves = before._replace(proposed=before.proposed + 1, **counts)
        self.accepted_by_block[-1] += outcome["accepted"]

    def _advance(self) -> None:
        self._step += 1
        if self._step <= self._schedule.steps:
            return
        self.log_t_by_block.append(self.state.log_t)
        published_stop = self._schedule.mh == "published" and self.ended
        self._stage = self._schedule.blocks + 1 if published_stop else self._stage + 1
        self._step = 0
