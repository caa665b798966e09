"""Sequential Monte Carlo over token strings, and its conditional form, which is exact.

A sweep grows N strings together by the proposal q, to one length cap after the other. A string's
weight gains w with every token, and one that has ended keeps its weight. At a cap, where the
effective sample size of the weights is below N / 2, strings are resampled by their weights, which
then are equal again. One of the last cap's strings is drawn by its weight.

The first sweep's resampling is systematic: its string follows the target as N grows, and is biased
for any N; the mean weights' product is an unbiased estimate of the target's sum (Del Moral,
"Feynman-Kac Formulae", 2004; for language models "Power-SMC", arXiv 2602.10273).

In every further sweep the last one's string is kept as path 0, and the others' ancestors are drawn
independently: that leaves the target invariant for every N >= 2 (Andrieu, Doucet & Holenstein,
"Particle Markov chain Monte Carlo methods", JRSS B 2010).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from powerblend.engine.chain import Moves, Proposal
from powerblend.engine.endings import Ending
from powerblend.engine.randomness import Role, Stream
from powerblend.engine.rounds import Replica
from powerblend.engine.strings import Floats, Trace


class Particles:
    """``particles`` strings in ``sweeps`` sweeps, the first of which keeps no path."""

    def __init__(
        self,
        caps: Sequence[int],
        particles: int,
        sweeps: int,
        stream: Stream,
        ending: Ending,
    ) -> None:
        self.state = Trace.empty()
        self.decoded_tokens = 0
        self.moves = Moves()
        self.accepted_by_block: list[int] = []
        self.log_t_by_block: list[float] = []
        self.log_normaliser: float | None = None
        self._caps, self._count, self._sweeps = caps, particles, sweeps
        self._stream, self._ending = stream, ending
        self._sweep, self._block = 0, 0
        self._growing: list[int] = []  # numbers of the strings in the round under way
        self._strings: list[Trace] = []
        self._log_weights: Floats = np.empty(0)
        self._restart()

    @property
    def ended(self) -> bool:
        """Whether the state has ended, with EOS or a stop string."""
        return self._has_ended(self.state)

    @property
    def moved(self) -> int:
        """Sweeps that changed the string."""
        return self.moves.accepted - self.moves.unchanged

    @property
    def replicas(self) -> list[Replica]:
        """The other particles of the last sweep, with their shares of the weights."""
        others = [number for number in range(self._count) if number != self._chosen]
        return [
            Replica(
                self._strings[n],
                self._has_ended(self._strings[n]),
                weight=float(self._shares[n]),
            )
            for n in others
        ]

    def begin(self) -> list[Proposal]:
        """What the strings need to grow to the next cap at which one of them has not ended."""
        while self._sweep < self._sweeps:
            self._growing = [
                number
                for number in range(self._first_free, self._count)
                if not self._has_ended(self._strings[number])
            ]
            if self._growing:
                return [self._extension(number) for number in self._growing]
            self._close_block()
        return []

    def finish(self, suffixes: Sequence[Trace]) -> None:
        """Take what the strings became."""
        for number, suffix in zip(self._growing, suffixes, strict=True):
            if not all(np.isfinite(column).all() for column in suffix[1:5]):
                raise FloatingPointError(
                    "the model gave a drawn token a log-probability of nan or inf"
                )
            self.decoded_tokens += len(suffix)
            self._strings[number] = self._strings[number].then(suffix)
            self._log_weights[number] += float(suffix.log_weight.sum())
        self._close_block()

    @property
    def _first_free(self) -> int:
        """The number of the first string that is drawn; those before it are kept."""
        return 0 if self._sweep == 0 else 1

    def _has_ended(self, string: Trace) -> bool:
        return self._ending.has_ended(string.tokens)

    def _extension(self, number: int) -> Proposal:
        string, cap = self._strings[number], self._caps[self._block]
        cut = len(string)
        stream = self._stream.of(string=number)
        uniforms = stream.uniforms(Role.TOKEN, self._block, self._sweep, cap)[cut:]
        last = int(string.tokens[-1]) if cut else None
        return Proposal(
            *(cut, cap, uniforms, string.tokens[cut:]),
            last=last,
            keys=string.keys,
            state=self._ending.state(string.tokens),
        )

    def _close_block(self) -> None:
        """What follows when every string has ended or is at the cap."""
        if self._first_free:
            kept = self.state.head(self._caps[self._block])
            grown = kept.log_weight[len(self._strings[0]) :]
            self._strings[0] = kept
            self._log_weights[0] += float(grown.sum())
        self._block += 1
        if self._block == len(self._caps):
            self._close_sweep()
        else:
            self._resample()

    def _resample(self) -> None:
        """Let strings of much weight take the place of those of little, where that pays."""
        shares = _shares(self._log_weights)
        if 1 / float((shares**2).sum()) >= self._count / 2:
            return
        ancestors = self._ancestors(shares)
        self._strings = [self._strings[number] for number in ancestors]
        self._log_mean += _log_mean(self._log_weights)
        self._log_weights = np.zeros(self._count)

    def _ancestors(self, shares: Floats) -> NDArray[np.int64]:
        """Of every string: systematic, or with path 0 kept and independent of each other."""
        address = (Role.RESAMPLE, self._block, self._sweep)
        cumulative = shares.cumsum()
        if not self._first_free:
            points = (np.arange(self._count) + self._stream.uniform(*address)) / self._count
            return _positions(cumulative, points)
        points = self._stream.uniforms(*address, self._count)
        ancestors = _positions(cumulative, points)
        ancestors[0] = 0
        return ancestors

    def _close_sweep(self) -> None:
        """Draw the sweep's string by the weights."""
        self._shares = _shares(self._log_weights)
        point = self._stream.uniform(Role.ANSWER, 0, self._sweep)
        self._chosen = int(_positions(self._shares.cumsum(), np.array([point]))[0])
        before, self.state = self.state, self._strings[self._chosen]
        if self._first_free:
            unchanged = np.array_equal(before.tokens, self.state.tokens)
            self._add_move(accepted=self._chosen > 0, unchanged=unchanged and self._chosen > 0)
        else:
            self.log_normaliser = self._log_mean + _log_mean(self._log_weights)
            self.accepted_by_block.append(0)
        self._sweep += 1
        if self._sweep < self._sweeps:
            self._restart()
        else:
            self.log_t_by_block.append(self.state.log_t)

    def _add_move(self, *, accepted: bool, unchanged: bool) -> None:
        moves = self.moves
        self.moves = moves._replace(
            proposed=moves.proposed + 1,
            accepted=moves.accepted + accepted,
            unchanged=moves.unchanged + unchanged,
        )
        self.accepted_by_block[0] += accepted

    def _restart(self) -> None:
        """Begin a sweep, with nothing."""
        self._block, self._log_mean = 0, 0.0
        self._strings = [Trace.empty() for _ in range(self._count)]
        self._log_weights = np.zeros(self._count)
        self._shares = np.full(self._count, 1 / self._count)
        self._chosen = 0


def _shares(log_weights: Floats) -> Floats:
    """Weights that sum to 1."""
    weights = np.exp(log_weights - log_weights.max())
    shares: Floats = weights / weights.sum()
    return shares


def _log_mean(log_weights: Floats) -> float:
    """Log of the mean weight."""
    peak = float(log_weights.max())
    return peak + math.log(float(np.exp(log_weights - peak).mean()))


def _positions(cumulative: Floats, points: Floats) -> NDArray[np.int64]:
    """Whose share each point of [0, 1) falls into."""
    found = np.searchsorted(cumulative / cumulative[-1], points, side="right")
    return np.minimum(found, len(cumulative) - 1)
