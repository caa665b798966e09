"""Where answers of several strings are after their moves, exactly: written from the mathematics.

Distributions are over the strings of a `Space`; those of a ladder are tensors with an axis a rung.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from enumeration import Ends, Floats, Logits, Space, enumerate_space, log_softmax

EPSILON = 0.01
"""In nats; added to an entropy."""


@dataclass
class Cuts:
    """h [strings, longest] of each position, 0 behind a string's end."""

    weights: Floats

    @property
    def mass(self) -> Floats:
        return self.weights.sum(1)


def cuts_of(space: Space, logits: Logits, alpha: float, proposal: str, power: float | None) -> Cuts:
    """Uniform, or (entropy of q + epsilon) ^ power."""
    real = np.arange(space.log_q.shape[1]) < space.lengths[:, None]
    if power is None:
        return Cuts(real.astype(float))
    base, guided = logits(space.strings)
    log_q = log_softmax(alpha * (guided if proposal == "target" else base))
    entropy = -(np.exp(log_q) * log_q).sum(-1)
    return Cuts(np.where(real, (entropy + EPSILON) ** power, 0.0))


def kernel(space: Space, cap: int, cuts: Cuts, tries: int | None = None) -> Floats:
    """Transition probabilities [from, to] of one move: MH, or a choice among several tries."""
    states = space.states(cap)
    n, transitions = len(space.strings), np.zeros((len(states), len(states)))
    for cut in range(cap):
        share = np.where(cuts.mass > 0, cuts.weights[:, cut] / cuts.mass, 0.0)
        possible = states & (space.shared >= cut) & (space.lengths > cut)
        log_q = np.where(possible, space.log_q[:, cut:].sum(1), -np.inf)
        worth = (space.log_t - space.log_q)[:, cut:].sum(1) - np.log(cuts.mass)
        if tries is None:
            moves = np.exp(log_q + np.minimum(0.0, worth[None] - worth[:, None]))
        else:
            moves = chosen(np.exp(log_q), worth, tries)
        transitions += share[:, None] * np.where(np.eye(n, dtype=bool), 0.0, moves)
    return transitions + np.diag(1 - transitions.sum(1))


def chosen(q: Floats, worth: Floats, tries: int) -> Floats:
    """Chance [from, to] that ``to`` is drawn by one of the tries and chosen by its weight.

    N q(y) W(y) E[1 / (W(x) + W(y) + the other tries' weights)], by 1 / z = the integral of e^-sz.
    """
    weights = np.exp(worth - worth.max())
    log_s = np.linspace(-12, 12, 1201)
    s, width = np.exp(log_s), log_s[1] - log_s[0]
    decay = np.exp(-s * weights[:, None])  # [strings, s]
    others = (q @ decay) ** (tries - 1)  # [from, s]
    return tries * q * weights * ((decay * others * s * width) @ decay.T)


@dataclass
class Rungs:
    """A ladder's spaces, from the lowest exponent on, with their cuts."""

    exponents: Sequence[float]
    spaces: Sequence[Space]
    cuts: Sequence[Cuts]

    def distribution(
        self, max_new_tokens: int, blocks: int, steps: int, tries: int | None, swaps: bool
    ) -> Floats:
        """The joint distribution of all strings, with an axis a rung."""
        block = max_new_tokens // blocks
        joint = np.ones(())
        for space in self.spaces:
            joint = np.multiply.outer(joint, space.first(block))
        for cap in range(block, max_new_tokens + 1, block):
            if cap > block:
                caps = np.full(len(self.spaces[0].strings), cap)
                joint = self._each(joint, [space.extension(caps) for space in self.spaces])
            pairs = zip(self.spaces, self.cuts, strict=True)
            kernels = [kernel(space, cap, cuts, tries) for space, cuts in pairs]
            for _ in range(steps):
                joint = self._each(joint, kernels)
                for rung in range(len(self.spaces) - 1 if swaps else 0):
                    joint = self._swap(joint, rung)
        return joint

    def _each(self, joint: Floats, kernels: Sequence[Floats]) -> Floats:
        for axis, moves in enumerate(kernels):
            joint = np.moveaxis(np.tensordot(joint, moves, (axis, 0)), -1, axis)
        return joint

    def _swap(self, joint: Floats, rung: int) -> Floats:
        log_g = self.spaces[rung].log_t.sum(1) / self.exponents[rung]
        step = self.exponents[rung + 1] - self.exponents[rung]
        chance = np.exp(np.minimum(0.0, step * (log_g[:, None] - log_g[None])))
        axes = [1] * joint.ndim
        axes[rung] = axes[rung + 1] = len(log_g)
        going = joint * chance.reshape(axes)
        return joint - going + np.swapaxes(going, rung, rung + 1)


def rungs_of(
    logits: Logits,
    sizes: tuple[int, Ends | int, int],
    exponents: Sequence[float],
    proposal: str,
    power: float | None,
) -> Rungs:
    """``sizes`` are vocabulary, what ends a string and cap."""
    vocabulary, ends, cap = sizes
    spaces = [enumerate_space(logits, vocabulary, ends, a, proposal, cap) for a in exponents]
    cuts = [
        cuts_of(space, logits, a, proposal, power)
        for space, a in zip(spaces, exponents, strict=True)
    ]
    return Rungs(exponents, spaces, cuts)
