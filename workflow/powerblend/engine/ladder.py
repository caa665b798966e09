"""Parallel tempering: an answer's strings at several exponents, which swap with their neighbours.

Strings x_1 ... x_K have the targets t^a_1 ... t^a_K, a_1 < ... < a_K = alpha, and moves of their
own. After every move of all, each two neighbours, from the lowest on, swap with probability
min(1, e^r),

    r = (a_{k+1} - a_k) (log g(x_k) - log g(x_{k+1}))

which needs no model (Geyer, "Markov chain Monte Carlo maximum likelihood", 1991; for language
models "Parallel Power Tempering", arXiv 2609.38104). All strings are in the same stage.
"""

import math
from collections.abc import Sequence

from powerblend.engine.chain import Chain
from powerblend.engine.randomness import Role, Stream
from powerblend.engine.rounds import Replica, Together


class Ladder(Together):
    """Chains of rising exponents; the answer is the last one's state."""

    def __init__(self, chains: Sequence[Chain], stream: Stream, swaps: bool = True) -> None:
        super().__init__(chains)
        self._stream, self._swaps = stream, swaps
        self._num_moves = 0
        self._swapped = [0] * (len(self.chains) - 1)

    def _after_moves(self) -> None:
        self._num_moves += 1
        self._swap_neighbours()
        super()._after_moves()

    def _swap_neighbours(self) -> None:
        if not self._swaps:
            return
        count = len(self._swapped)
        uniforms = self._stream.uniforms(Role.SWAP, 0, self._num_moves, count)
        for rung, uniform in enumerate(uniforms):
            if math.log(1.0 - uniform) <= self._log_swap_ratio(rung):
                self._swap(rung)

    def _log_swap_ratio(self, rung: int) -> float:
        low, high = self.chains[rung], self.chains[rung + 1]
        step = _exponent(high) - _exponent(low)
        return step * (_log_g(low) - _log_g(high))

    def _swap(self, rung: int) -> None:
        """Neighbours exchange their strings, each to be read at its new exponent."""
        low, high = self.chains[rung], self.chains[rung + 1]
        low.state, high.state = low.law.read(high.state), high.law.read(low.state)
        self._swapped[rung] += 1

    @property
    def replicas(self) -> list[Replica]:
        """The lower rungs' strings."""
        swapped = self._swapped if self._swaps else [None] * len(self._swapped)
        return [
            Replica(c.state, c.ended, exponent=_exponent(c), moves=c.moves, swaps=swaps)
            for c, swaps in zip(self.chains[:-1], swapped, strict=True)
        ]


def _exponent(chain: Chain) -> float:
    return chain.law.exponents[chain.law.rung]


def _log_g(chain: Chain) -> float:
    """Log-probability of a chain's string under the target's model, at exponent 1."""
    return float(chain.state.columns[:, 0].sum())
