"""How well answers through `sample` fit the distributions that `kernel_enumeration` finds."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import tiny
from enumeration import Floats, Logits, Space, chi_squared
from kernel_enumeration import rungs_of
from powerblend import Generation, sample

Decoding = dict[str, Any]
Counts = NDArray[np.int64]


class Source(NamedTuple):
    """A model, its prompt, and its logits as the enumeration sees them, by blend."""

    model: Any
    prompt: list[int]
    blends: Any

    def logits(self, decoding: Mapping[str, Any]) -> Logits:
        return self.blends(decoding.get("blend"))


class Law(NamedTuple):
    """Spaces by rung, and the joint distribution of the rungs' strings, with an axis a rung."""

    spaces: list[Space]
    joint: Floats

    @property
    def parts(self) -> list[tuple[tuple[int, ...], Floats]]:
        """Of each rung, and of each two neighbours together: their numbers and distribution."""
        count = len(self.spaces)
        rungs = [(k,) for k in range(count)] + [(k, k + 1) for k in range(count - 1)]
        return [
            (some, self.joint.sum(tuple(k for k in range(count) if k not in some)))
            for some in rungs
        ]


def answers(source: Source, decoding: Decoding, samples: int) -> list[Generation]:
    """Of the source's prompt."""
    return sample(source.model, [source.prompt], decoding, samples, 1, rows=512, speculate="off")[0]


def strings_of(found: list[Generation]) -> list[list[tuple[int, ...]]]:
    """Of each answer those of all rungs, the answer's own last."""
    return [[*(tuple(r.tokens) for r in a.replicas or ()), tuple(a.tokens)] for a in found]


def truth(source: Source, decoding: Mapping[str, Any]) -> Law:
    """Of a power sampler's answers, after all of their moves."""
    exponents = [*decoding.get("ladder", ()), decoding["alpha"]]
    power = decoding.get("cut_power", 1.0) if "cut" in decoding else None
    proposal = decoding.get("proposal", "base")
    sizes = (source.model.vocabulary, tiny.EOS, decoding["max_new_tokens"])
    rungs = rungs_of(source.logits(decoding), sizes, exponents, proposal, power)
    schedule = (decoding["max_new_tokens"], decoding.get("blocks", 1), decoding.get("steps", 0))
    joint = rungs.distribution(*schedule, decoding.get("tries"), decoding.get("swaps", True))
    return Law(list(rungs.spaces), joint)


def target(source: Source, decoding: Mapping[str, Any]) -> Law:
    """Of conditional particles, whose sweeps are enough to forget where they began."""
    sizes = (source.model.vocabulary, tiny.EOS, decoding["max_new_tokens"])
    proposal = decoding.get("proposal", "base")
    rungs = rungs_of(source.logits(decoding), sizes, [decoding["alpha"]], proposal, None)
    (space,) = rungs.spaces
    return Law([space], space.target(decoding["max_new_tokens"]))


def law_of(source: Source, decoding: Mapping[str, Any]) -> Law:
    """What a sampler's answers follow."""
    return (target if decoding["sampler"] == "particles" else truth)(source, decoding)


def p_values(source: Source, decoding: Decoding, samples: int) -> list[float]:
    """Of each rung's strings, and of neighbours' together: how well they fit the enumeration."""
    law = law_of(source, decoding)
    assert abs(law.joint.sum() - 1) < 1e-9
    index = {string: i for i, string in enumerate(law.spaces[0].strings)}
    rungs = len(law.spaces)  # particles' replicas have no distribution of their own
    found = np.array(
        [
            [index[s] for s in strings[-rungs:]]
            for strings in strings_of(answers(source, decoding, samples))
        ]
    )
    fits = []
    for some, part in law.parts:
        cells = np.ravel_multi_index(tuple(found[:, list(some)].T), part.shape)
        counts = np.bincount(cells, minlength=part.size)
        fits.append(chi_squared(counts, np.maximum(part.ravel(), 0)))
    return fits
