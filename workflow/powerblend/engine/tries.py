"""Moves of several tries at one cut: multiple-try Metropolis as iterated importance resampling.

At a cut m, N suffixes are drawn from q, and one of the N + 1 strings, the current one among them,
is chosen with probability proportional to

    exp(sum_{i>=m} w_i) / S(x)

(Andrieu, Lee & Vihola, "Uniform ergodicity of the iterated conditional SMC and geometric ergodicity
of particle Gibbs samplers", Bernoulli 2018, on the suffix; the 1 / S is that of the cut, whose
chance is h_m / S). The choice is the largest of these logs plus a Gumbel number each, which are
known beforehand: a try that cannot beat the strings known already is given up.
"""

import math
from collections.abc import Sequence

import numpy as np

from powerblend.engine.chain import Chain, Proposal, Schedule
from powerblend.engine.endings import Ending
from powerblend.engine.randomness import Role, Stream
from powerblend.engine.strings import PLAIN, Floats, Law, Trace


class TryingChain(Chain):
    """A chain whose moves choose among ``tries`` suffixes and the current one."""

    def __init__(
        self,
        schedule: Schedule,
        stream: Stream,
        ending: Ending,
        tries: int,
        law: Law = PLAIN,
    ) -> None:
        super().__init__(schedule, stream, ending, law)
        self._tries = tries
        self._m = 0  # the cut of the move under way
        self._asked: list[int] = []  # numbers of the tries that need the model
        self._gumbel: Floats = np.empty(0)  # of the current string and the tries
        self._scores: Floats = np.empty(0)  # of the same; -inf: not known yet

    def _move(self) -> list[Proposal]:
        cap, cut = self._schedule.cap(self._stage), self._cut()
        self._m = cut
        self._gumbel = self._gumbels()
        streams = [self._stream.of(attempt=number) for number in range(self._tries)]
        uniforms = [self._uniforms(stream, cap) for stream in streams]
        starts = [self._leaves(numbers, cut) for numbers in uniforms]
        # A try that never leaves the current string is that string, with a number of its own.
        known = [True, *(start is None for start in starts)]
        self._scores = np.where(known, self._worth(self.state) + self._gumbel, -math.inf)
        self._asked = [number for number, start in enumerate(starts) if start is not None]
        if not self._asked:
            self._conclude(None, gave_up=False)
        return [
            self._proposal(start, cap, uniforms[number], self._try_floor(start, number))
            for number, start in enumerate(starts)
            if start is not None
        ]

    def _choose(self, proposed: Sequence[Trace], pending: Sequence[Proposal]) -> Trace | None:
        complete = [self._complete(s, p) for s, p in zip(proposed, pending, strict=True)]
        for number, string, whole in zip(self._asked, proposed, complete, strict=True):
            if whole:
                self._scores[number + 1] = self._worth(string) + self._gumbel[number + 1]
        return self._conclude(proposed, gave_up=not any(complete))

    def _conclude(self, proposed: Sequence[Trace] | None, *, gave_up: bool) -> Trace | None:
        """The chosen string; None where the state stays."""
        winner = int(self._scores.argmax()) - 1
        chosen = None
        if proposed is not None and winner in self._asked:
            chosen = proposed[self._asked.index(winner)]
        unchanged = chosen is None or np.array_equal(chosen.tokens, self.state.tokens)
        self._count(
            accepted=winner >= 0, unchanged=winner >= 0 and unchanged, early_rejected=gave_up
        )
        return chosen

    def _worth(self, string: Trace) -> float:
        """Log of the weight by which a string is chosen."""
        return float(string.log_weight[self._m :].sum()) - math.log(self.law.cut_mass(string))

    def _gumbels(self) -> Floats:
        """A Gumbel number for the current string and each try."""
        uniforms = self._stream.uniforms(Role.ACCEPT, self._stage, self._step, self._tries + 1)
        # 1 - u is in (0, 1]; the largest double below 1 keeps the outer log finite.
        numbers: Floats = -np.log(-np.log(np.clip(1.0 - uniforms, None, 1 - 2.0**-53)))
        return numbers

    def _try_floor(self, start: int, number: int) -> float:
        """What sum w - log S of a try must reach, from where it leaves the current string."""
        if not self._schedule.early:
            return -math.inf
        shared = float(self.state.log_weight[self._m : start].sum())
        return float(self._scores.max() - self._gumbel[number + 1]) - shared
