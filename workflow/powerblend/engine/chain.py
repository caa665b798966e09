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
    """How a chain grows: ``blocks`` stages, each an extension followed by ``steps`` moves."""

    max_new_tokens: int
    blocks: int = 1
    steps: int = 0
    mh: Literal["exact", "published"] = "exact"

    def cap(self, stage: int) -> int:
        """L_k, the longest string of stage k = ``stage``, in tokens."""
        return stage * (self.max_new_tokens // self.blocks)


class Trace(NamedTuple):
    """A string of tokens with what each was worth when it was drawn; all arrays are [n].

    ``log_p`` is under the base model, ``log_q`` under the proposal, and ``w = log t - log q`` is
    all that a Metropolis-Hastings decision needs to know of a token.
    """

    tokens: NDArray[np.int64]
    log_p: Floats
    log_q: Floats
    w: Floats

    @classmethod
    def empty(cls) -> "Trace":
        """The string of no tokens."""
        return cls(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0))

    def __len__(self) -> int:
        return len(self.tokens)

    def head(self, cut: int) -> "Trace":
        """The first ``cut`` tokens."""
        return Trace(self.tokens[:cut], self.log_p[:cut], self.log_q[:cut], self.w[:cut])

    def tail(self, cut: int) -> "Trace":
        """Everything from token ``cut`` on."""
        return Trace(self.tokens[cut:], self.log_p[cut:], self.log_q[cut:], self.w[cut:])

    def then(self, suffix: "Trace") -> "Trace":
        """The tokens of this string, then those of another."""
        return Trace(*(np.concatenate(pair) for pair in zip(self, suffix, strict=True)))

    @property
    def log_t(self) -> float:
        """Log target of the whole string, unnormalised."""
        return float(self.log_q.sum() + self.w.sum())


class Proposal(NamedTuple):
    """What to generate next: tokens ``cut``, ``cut`` + 1, ... until EOS or ``cap`` tokens in all.

    ``uniforms`` [cap - cut] are the draws' random numbers, and ``current`` is the suffix that the
    chain now holds: a draw stays on its token with the uniforms below the token's probability.
    """

    cut: int
    cap: int
    uniforms: Floats
    current: NDArray[np.int64]


class Moves(NamedTuple):
    """Counts of a chain's moves, in all or in one stage."""

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
    gain = float(proposed.w[cut:].sum())
    if mh == "published":
        return gain - float(current.w[cut : len(proposed)].sum())
    cuts = math.log(len(current)) - math.log(len(proposed))
    return gain - float(current.w[cut:].sum()) + cuts


class Chain:
    """A chain's state and its place in the schedule.

    Stage k holds the strings that end with EOS within L_k tokens and the strings of exactly L_k
    tokens without EOS. Each stage extends the state to its cap with the proposal, then makes
    ``steps`` moves (block-wise power sampling, arXiv 2510.14901, Algorithm 1).
    """

    def __init__(self, schedule: Schedule, stream: Stream, eos: Collection[int]) -> None:
        self.state = Trace.empty()
        self.decoded_tokens = 0
        self.moves: list[Moves] = []
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
            if self._step > 0:
                return self._propose_move()
            self.moves.append(Moves())
            if not self.ended:
                return self._generate_from(len(self.state))
            self._advance()
        return None

    def decide(self, suffix: Trace) -> bool:
        """Take what was generated for the last proposal; True if it is part of the state now."""
        if self._pending is None:
            raise RuntimeError("decide() was called without a proposal to decide on")
        if not all(np.isfinite(column).all() for column in suffix[1:]):
            raise FloatingPointError("the model gave a drawn token a log-probability of nan or inf")
        cut, self._pending = self._pending.cut, None
        self.decoded_tokens += len(suffix)
        proposed = self.state.head(cut).then(suffix)
        accepted = self._step == 0 or self._accepts(proposed, cut)
        if accepted:
            self.state = proposed
        self._advance()
        return accepted

    def _propose_move(self) -> Proposal:
        length = len(self.state)
        cut = int(self._stream.uniform(Role.CUT, self._stage, self._step) * length)
        return self._generate_from(cut)

    def _generate_from(self, cut: int) -> Proposal:
        published_move = self._schedule.mh == "published" and self._step > 0
        cap = len(self.state) if published_move else self._schedule.cap(self._stage)
        uniforms = self._stream.uniforms(Role.TOKEN, self._stage, self._step, cap)
        self._pending = Proposal(cut, cap, uniforms[cut:], self.state.tokens[cut:])
        return self._pending

    def _accepts(self, proposed: Trace, cut: int) -> bool:
        r = log_acceptance(self.state, proposed, cut, self._schedule.mh)
        # 1 - u is in (0, 1], so its log is finite.
        u = 1.0 - self._stream.uniform(Role.ACCEPT, self._stage, self._step)
        accepted = math.log(u) <= r
        done = self.moves[-1]
        self.moves[-1] = done._replace(
            proposed=done.proposed + 1,
            accepted=done.accepted + accepted,
            unchanged=done.unchanged + np.array_equal(proposed.tokens, self.state.tokens),
        )
        return accepted

    def _advance(self) -> None:
        self._step += 1
        if self._step <= self._schedule.steps:
            return
        self.log_t_by_block.append(self.state.log_t)
        published_stop = self._schedule.mh == "published" and self.ended
        self._stage = self._schedule.blocks + 1 if published_stop else self._stage + 1
        self._step = 0
