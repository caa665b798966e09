"""Every kernel with every target and both proposals follows the distribution that is claimed.

The whole product, through `sample` and against enumeration, on one random transformer with a draft;
and what each kernel is easily got wrong by is rejected by the same comparison. `make test` takes a
cell of each kernel but the slowest, and of each target; `make test-slow` takes all.

Together they reject a right engine with a chance of `FALSE_ALARM`: a p-value's bound is that over
the number of comparisons (Bonferroni).
"""

from collections.abc import Iterator
from functools import cache
from itertools import cycle
from typing import Any, NamedTuple

import pytest
from scipy.stats import chi2, ncx2

import tiny
from enumeration import Floats, Logits, String, total_variation
from kernel_laws import Decoding, Source, law_of, p_values
from powerblend.engine.ladder import Ladder
from powerblend.engine.particles import Particles
from powerblend.engine.strings import Law, Trace
from powerblend.samplers import Power
from test_exactness import transformer_source

FALSE_ALARM = 1e-3
CHAINS = 500
CAP, VOCABULARY, SEED = 4, 3, 24

POWER = {"sampler": "power", "alpha": 1.5, "max_new_tokens": CAP, "blocks": 2, "steps": 3}
ENTROPY = POWER | {"cut": "entropy"}
LADDER_2 = POWER | {"ladder": [1.0], "steps": 2}
LADDER_4 = POWER | {"ladder": [1.0, 1.15, 1.3], "max_new_tokens": 3, "blocks": 1}
CSMC = {"sampler": "particles", "alpha": 1.5, "max_new_tokens": CAP, "blocks": 4}
KERNELS: dict[str, Decoding] = {
    "entropy-1": ENTROPY | {"cut_power": 1},
    "entropy-4": ENTROPY | {"cut_power": 4},
    "tries-2": POWER | {"tries": 2},
    "tries-5": POWER | {"tries": 5, "steps": 2},
    "ladder-2": LADDER_2,
    "ladder-2-no-swaps": LADDER_2 | {"swaps": False},
    "ladder-4": LADDER_4,
    "ladder-4-no-swaps": LADDER_4 | {"swaps": False},
    "csmc-2": CSMC | {"particles": 2, "sweeps": 10},
    "csmc-5": CSMC | {"particles": 5, "sweeps": 4},
}
BLENDS: dict[str, dict[str, Any] | None] = {
    "unblended": None,
    "layer-none-plus": {"source": "layer", "layer": 1, "norm": "none", "beta": 0.15},
    "layer-none-minus": {"source": "layer", "layer": 1, "norm": "none", "beta": -0.15},
    "layer-final-plus": {"source": "layer", "layer": 0, "norm": "final", "beta": 0.2},
    "layer-final-minus": {"source": "layer", "layer": 0, "norm": "final", "beta": -0.2},
    "draft": {"source": "draft", "beta": 0.4},
}
PROPOSALS = ("base", "target")
SIDES = [(target, proposal) for target in BLENDS for proposal in PROPOSALS]
CELLS = [(kernel, *side) for side in SIDES for kernel in KERNELS]


def decoding_of(kernel: str, target: str, proposal: str) -> Decoding:
    decoding, blend = KERNELS[kernel] | {"proposal": proposal}, BLENDS[target]
    return decoding | {"blend": blend} if blend else decoding


def comparisons(kernel: str) -> int:
    """Of a cell: each rung's strings, and each two neighbours'."""
    return 2 * len(KERNELS[kernel].get("ladder", ())) + 1


THRESHOLD = FALSE_ALARM / sum(comparisons(kernel) for kernel, _, _ in CELLS)
"""Of a p-value, after Bonferroni."""


@pytest.fixture(scope="module")
def source() -> Source:
    """A transformer with a draft; each blend's logits are computed once."""
    made = transformer_source(tiny.transformer(seed=SEED, vocabulary=VOCABULARY))

    @cache
    def logits(target: str, strings: tuple[String, ...]) -> tuple[Floats, Floats]:
        found: tuple[Floats, Floats] = made.blends(BLENDS[target])(strings)
        return found

    def blends(blend: Any) -> Logits:
        target = next(name for name, known in BLENDS.items() if known == blend)
        return lambda strings: logits(target, tuple(strings))

    return Source(made.model, made.prompt, blends)


def cells() -> Iterator[Any]:
    """All of them, slow but for some in which each kernel but the slowest is."""
    pairs = zip(cycle(KERNELS), SIDES, strict=False)
    quick = {(kernel, *side) for kernel, side in pairs if kernel != "csmc-2"}
    for cell in CELLS:
        yield pytest.param(*cell, marks=[] if cell in quick else pytest.mark.slow)


@pytest.mark.parametrize(("kernel", "target", "proposal"), cells())
def test_every_kernel_follows_every_target_by_either_proposal(
    kernel: str, target: str, proposal: str, source: Source
) -> None:
    fits = p_values(source, decoding_of(kernel, target, proposal), CHAINS)
    assert len(fits) == comparisons(kernel)
    assert min(fits) > THRESHOLD


class Twin(NamedTuple):
    """A kernel with a fault: attributes of the engine's that are replaced."""

    kernel: str
    faults: list[tuple[type, str, Any]]
    change: Decoding


def no_mass(self: Law, trace: Trace, length: int | None = None) -> float:
    return 1.0


right_ratio, right_schedule = Ladder._log_swap_ratio, Power.schedule


def inverse_ratio(self: Ladder, rung: int) -> float:
    return -right_ratio(self, rung)


def to_the_end(self: Power) -> Any:
    """Nothing is given up: by the bound of early rejection a wrong choice would be half right."""
    return right_schedule(self)._replace(early=False)


# Weights that are kept after resampling: test_kernels, for these strings are hardly resampled.
UNCORRECTED = [(Law, "cut_mass", no_mass), (Power, "schedule", to_the_end)]
TWINS = {
    "entropy cuts without their correction": Twin("entropy-4", UNCORRECTED, {"steps": 6}),
    "tries without 1/S": Twin("tries-2", UNCORRECTED, {"steps": 6}),
    "five tries without 1/S": Twin("tries-5", UNCORRECTED, {"steps": 6}),
    "swaps by the inverse ratio": Twin(
        "ladder-2", [(Ladder, "_log_swap_ratio", inverse_ratio)], {}
    ),
    "a path that is not kept": Twin(
        "csmc-2", [(Particles, "_first_free", 0)], {"alpha": 2.0, "sweeps": 40}
    ),
}
QUICK = [
    ("entropy cuts without their correction", "draft"),
    ("tries without 1/S", "unblended"),
    ("swaps by the inverse ratio", "layer-final-plus"),
]


@pytest.mark.parametrize(
    ("fault", "target"),
    [
        pytest.param(fault, target, marks=[] if (fault, target) in QUICK else pytest.mark.slow)
        for fault in TWINS
        for target in ("unblended", "layer-final-plus", "draft")
    ],
)
def test_each_fault_is_rejected_under_every_kind_of_target(
    fault: str, target: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By as many answers, and at the same bound, as the right kernel passes with."""
    twin = TWINS[fault]
    decoding = decoding_of(twin.kernel, target, "base") | twin.change
    assert min(p_values(source, decoding, CHAINS)) > THRESHOLD
    for owner, name, wrong in twin.faults:
        monkeypatch.setattr(owner, name, wrong)
    assert min(p_values(source, decoding, CHAINS)) < THRESHOLD


@pytest.mark.parametrize(("target", "proposal"), SIDES)
def test_answers_end_early_late_and_never_in_every_target(
    target: str, proposal: str, source: Source
) -> None:
    for kernel in KERNELS:
        law = law_of(source, decoding_of(kernel, target, proposal))
        strings, answer = law.spaces[-1], law.parts[len(law.spaces) - 1][1]
        early = strings.ended & (strings.lengths <= 2)
        for some in (early, strings.ended & ~early, ~strings.ended):
            assert answer[some].sum() > 0.03


def test_no_two_targets_are_alike(source: Source) -> None:
    """Otherwise a blend that is ignored would pass everything here."""
    laws = [law_of(source, decoding_of("csmc-2", target, "base")).joint for target in BLENDS]
    for i, law in enumerate(laws):
        assert all(total_variation(law, other) > 0.1 for other in laws[:i])


def test_a_total_variation_of_a_fifth_would_be_seen() -> None:
    """In any one cell, nineteen times out of twenty.

    A total variation of d makes chi-squared noncentral by at least 4 d^2 an answer, whatever its
    shape (Cauchy-Schwarz).
    """
    strings = 2 ** (CAP + 1) - 1  # that end within the cap, or are as long
    bound = chi2.isf(THRESHOLD, strings - 1)
    assert ncx2.sf(bound, strings - 1, CHAINS * 4 * 0.2**2) > 0.95
