"""Answers of several strings: in rounds of proposals that wait for one another. Knows no torch.

An answer asks for the proposals of a round (`Rounds.begin`), of which each may be generated in any
row at any time, and is given what they became when all have come (`Rounds.finish`). A `Chain` is an
answer of one string, whose rounds are of one proposal and which need not wait.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from powerblend.engine.chain import Chain, Moves, Proposal
from powerblend.engine.strings import Trace


class Replica(NamedTuple):
    """Another string of an answer: a ladder's rung, or a particle.

    ``exponent`` is the rung's, ``swaps`` counts those with the rung above; ``weight`` is the
    particle's share of all weights. ``ended`` says whether the string has.
    """

    string: Trace
    ended: bool
    exponent: float | None = None
    weight: float | None = None
    moves: Moves | None = None
    swaps: int | None = None


class Rounds(Protocol):
    """An answer that is made in rounds; what is known of it is as of a `Chain`."""

    @property
    def state(self) -> Trace:
        """The answer's string."""

    @property
    def ended(self) -> bool:
        """Whether it has ended, with EOS or a stop string."""

    @property
    def decoded_tokens(self) -> int:
        """Of all strings, given up ones included."""

    @property
    def moves(self) -> Moves:
        """Counts of the answer's own moves."""

    @property
    def moved(self) -> int:
        """Moves, with what swaps follow them, that changed the answer."""

    @property
    def accepted_by_block(self) -> list[int]:
        """Of each stage, the answer's accepted moves."""

    @property
    def log_t_by_block(self) -> list[float]:
        """Log target of the answer at each stage's end."""

    @property
    def replicas(self) -> list[Replica]:
        """Its other strings."""

    @property
    def log_normaliser(self) -> float | None:
        """Log of an estimate of sum_x t(x), where the kernel makes one."""

    def begin(self) -> list[Proposal]:
        """The next round's proposals; none when the answer is done."""

    def finish(self, suffixes: Sequence[Trace]) -> None:
        """Take what the round's proposals became, in their order."""


class Together:
    """Chains that make their moves in step: a round is one move of each.

    The answer is the last chain's state, and so are the counts of its moves.
    """

    log_normaliser: float | None = None

    def __init__(self, chains: Sequence[Chain]) -> None:
        self.chains = list(chains)
        self.moved = 0
        self._before: Trace = Trace.empty()  # the answer's string before the round's moves
        self._asked: list[int] = []  # proposals of each chain in the round under way

    def begin(self) -> list[Proposal]:
        """The next round in which the model is needed."""
        while not self.chains[-1].done:
            self._before = self.state
            asked = [chain.begin() for chain in self.chains]
            if any(asked):
                self._asked = [len(proposals) for proposals in asked]
                return [proposal for proposals in asked for proposal in proposals]
            self._advance()
        return []

    def finish(self, suffixes: Sequence[Trace]) -> None:
        """Let every chain decide, then all go on."""
        left: Iterator[Trace] = iter(suffixes)
        for chain, count in zip(self.chains, self._asked, strict=True):
            if count:
                chain.finish([next(left) for _ in range(count)])
        self._advance()

    def _advance(self) -> None:
        if not self.chains[-1].extending:
            self._after_moves()
        for chain in self.chains:
            chain.advance()

    def _after_moves(self) -> None:
        """What follows a move of every chain."""
        self.moved += not np.array_equal(self._before.tokens, self.state.tokens)

    @property
    def replicas(self) -> list[Replica]:
        """The states of the other chains."""
        return [Replica(chain.state, chain.ended, moves=chain.moves) for chain in self.chains[:-1]]

    @property
    def state(self) -> Trace:
        """The answer's string."""
        return self.chains[-1].state

    @property
    def ended(self) -> bool:
        """Whether the state has ended, with EOS or a stop string."""
        return self.chains[-1].ended

    @property
    def decoded_tokens(self) -> int:
        """Of all chains."""
        return sum(chain.decoded_tokens for chain in self.chains)

    @property
    def moves(self) -> Moves:
        """Of the answer's chain."""
        return self.chains[-1].moves

    @property
    def accepted_by_block(self) -> list[int]:
        """Of the answer's chain."""
        return self.chains[-1].accepted_by_block

    @property
    def log_t_by_block(self) -> list[float]:
        """Of the answer's chain."""
        return self.chains[-1].log_t_by_block
