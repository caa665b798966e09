"""Strings of tokens, and what is known of each token: no torch, no model, no chain.

A sampler of one exponent and uniform cuts needs three numbers a token. One of several exponents, or
whose cuts are drawn by entropy, keeps further columns, from which a string is read anew at another
exponent without the model:

    columns  [n, 2 + K or 2 + 2 K]   log g, log s, Z(a_1) ... Z(a_K), H(a_1) ... H(a_K)

g is the target's model and s the proposal's, both at exponent 1, Z(a) = log sum_v s(v)^a, and H(a)
the entropy in nats of the proposal's law s^a / exp(Z(a)).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NO_COLUMNS = np.empty((0, 0))
"""Of strings that need none."""

ENTROPY_FLOOR = 0.01
"""epsilon, in nats: what is added to an entropy so that every position can be a cut."""


class Trace(NamedTuple):
    """A string of tokens, and of each its log-probabilities when it was drawn; all arrays are [n].

    ``log_p`` is under the base model and ``log_q`` under the proposal; ``log_weight``, w in
    formulas, is log t - log q, which is all that a Metropolis-Hastings decision needs of a token.
    ``columns`` [n, columns] are those of the module, where a sampler needs them. ``keys`` belongs
    to whoever runs the chain: what it needs to go on from this string.
    """

    tokens: NDArray[np.int64]
    log_p: Floats
    log_q: Floats
    log_weight: Floats
    columns: Floats = NO_COLUMNS
    keys: Any = None

    @classmethod
    def empty(cls) -> "Trace":
        """The string of no tokens."""
        return cls(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0))

    def __len__(self) -> int:
        return len(self.tokens)

    def head(self, cut: int) -> "Trace":
        """The first ``cut`` tokens."""
        return self._part(slice(None, cut))

    def tail(self, cut: int) -> "Trace":
        """Everything from token ``cut`` on."""
        return self._part(slice(cut, None))

    def _part(self, part: slice) -> "Trace":
        return Trace(
            self.tokens[part],
            self.log_p[part],
            self.log_q[part],
            self.log_weight[part],
            self.columns[part],
            self.keys,
        )

    def then(self, suffix: "Trace") -> "Trace":
        """The tokens of this string, then those of another, whose keys are those of the whole."""
        if not len(self):
            return suffix
        return Trace(
            np.concatenate([self.tokens, suffix.tokens]),
            np.concatenate([self.log_p, suffix.log_p]),
            np.concatenate([self.log_q, suffix.log_q]),
            np.concatenate([self.log_weight, suffix.log_weight]),
            np.concatenate([self.columns, suffix.columns]) if self.columns.size else suffix.columns,
            suffix.keys,
        )

    def holding(self, keys: Any) -> "Trace":
        """The same string with these keys."""
        tokens, log_p, log_q, log_weight, columns, _ = self
        return Trace(tokens, log_p, log_q, log_weight, columns, keys)

    @property
    def log_t(self) -> float:
        """Log target of the whole string, unnormalised."""
        return float(self.log_q.sum() + self.log_weight.sum())


class Law(NamedTuple):
    """How a string of several exponents is read: at which of them, and how its cuts are drawn.

    ``exponents`` are a_1 < ... < a_K, or none where strings have no columns, and ``rung`` the
    number of the string's own. ``cut_power`` is gamma of the cut law c(m | x) = h_m / S(x),
    h = (H + epsilon)^gamma, S(x) = sum_i h_i; None: cuts are uniform, h = 1. ``never_positive``
    says that proposal and target are powers of one distribution, so that no log weight is.
    """

    exponents: tuple[float, ...] = ()
    rung: int = 0
    cut_power: float | None = None
    never_positive: bool = False

    def read(self, trace: Trace) -> Trace:
        """A string at this law's exponent a: log q = a log s - Z(a), w = a (log g - log s) + Z."""
        if not self.exponents:
            return trace
        exponent = self.exponents[self.rung]
        log_g, log_s, log_norm = trace.columns[:, [0, 1, 2 + self.rung]].T
        log_weight = exponent * (log_g - log_s) + log_norm
        if self.never_positive:
            log_weight = np.minimum(log_weight, 0.0)
        log_q = exponent * log_s - log_norm
        return Trace(trace.tokens, trace.log_p, log_q, log_weight, trace.columns, trace.keys)

    def entropy(self, trace: Trace) -> Floats:
        """Of the proposal's law of each token, [n], in nats."""
        entropies: Floats = trace.columns[:, 2 + len(self.exponents) + self.rung]
        return entropies

    @property
    def uniform_cuts(self) -> bool:
        """Whether h = 1: then no weights are computed."""
        return self.cut_power is None

    def cut_weights(self, trace: Trace) -> Floats:
        """Of each position, h [n] > 0, which depends on the tokens before it alone."""
        if self.cut_power is None or not len(trace):
            return np.ones(len(trace))
        weights: Floats = (self.entropy(trace) + ENTROPY_FLOOR) ** self.cut_power
        return weights

    def cut(self, trace: Trace, uniform: float) -> int:
        """The cut that a uniform number draws."""
        if self.uniform_cuts:
            return int(uniform * len(trace))
        mass = self.cut_weights(trace).cumsum()
        return min(int(np.searchsorted(mass, uniform * mass[-1], side="right")), len(trace) - 1)

    def cut_mass(self, trace: Trace, length: int | None = None) -> float:
        """S(x) of the first ``length`` tokens, by default of all: what a cut's chance is out of."""
        length = len(trace) if length is None else length
        if self.uniform_cuts:
            return float(length)
        return float(self.cut_weights(trace)[:length].sum())


PLAIN = Law()
"""Of one exponent, with uniform cuts: strings have no columns."""
