"""Entropy cuts, tries, ladders and particles follow the distributions that are claimed for them.

Through `sample`, against enumeration, as in `test_exactness`; and what each of them is easily got
wrong by is rejected by the same comparison.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedModel

import tiny
from enumeration import Floats, Space, chi_squared, total_variation
from equality import nearly, records
from kernel_enumeration import rungs_of
from powerblend import Generation, sample
from powerblend.engine.endings import Ending
from powerblend.engine.ladder import Ladder
from powerblend.engine.particles import Particles
from powerblend.engine.randomness import Stream
from powerblend.engine.strings import Law, Trace
from powerblend.samplers import Power
from table_model import TableModel
from test_exactness import DRAFT, NOT_REJECTED, Source, blended, transformer_source

CAP, VOCABULARY = 4, 3
POWER = {"sampler": "power", "alpha": 2.5, "max_new_tokens": CAP, "blocks": 2, "steps": 2}
SHORT = POWER | {"max_new_tokens": 3, "blocks": 1, "steps": 3}
ENTROPY = POWER | {"cut": "entropy"}
PARTICLES = {"sampler": "particles", "alpha": 2.5, "max_new_tokens": CAP, "blocks": 4}
Decoding = dict[str, Any]

ON_A_TABLE: dict[str, Decoding] = {
    "entropy-1": ENTROPY | {"steps": 3},
    "entropy-4": ENTROPY | {"cut_power": 4},
    "entropy-4-blend-none-base": blended(ENTROPY | {"cut_power": 4}, layer=0),
    "entropy-1-blend-final-target": blended(ENTROPY | {"proposal": "target"}, "final", -1, layer=0),
    "tries-2": POWER | {"tries": 2},
    "tries-5": POWER | {"tries": 5},
    "tries-5-blend-none-base": blended(POWER | {"tries": 5}, sign=-1, layer=0),
    "tries-2-blend-final-target": blended(
        POWER | {"tries": 2, "proposal": "target"}, "final", layer=0
    ),
    "ladder-2": POWER | {"ladder": [1.2]},
    "ladder-4": SHORT | {"ladder": [1.0, 1.5, 2.0]},
    "ladder-2-no-swaps": POWER | {"ladder": [1.2], "swaps": False},
    "ladder-4-no-swaps": SHORT | {"ladder": [1.0, 1.5, 2.0], "swaps": False},
    "ladder-2-blend-final-base": blended(POWER | {"ladder": [1.2]}, "final", -1, layer=0),
    "ladder-2-blend-none-target": blended(POWER | {"ladder": [1.2], "proposal": "target"}, layer=0),
    "all-of-them": blended(ENTROPY | {"tries": 2, "ladder": [1.2]}, "final", layer=0),
}
ON_A_TRANSFORMER: dict[str, Decoding] = {
    "entropy-draft-target": ENTROPY | DRAFT | {"proposal": "target"},
    "tries-draft-base": POWER | DRAFT | {"tries": 2},
    "ladder-draft-base": POWER | DRAFT | {"ladder": [1.2]},
    "ladder-layer-target": blended(POWER | {"ladder": [1.2], "proposal": "target"}, "final"),
}
CONDITIONAL: dict[str, Decoding] = {
    "csmc-2": PARTICLES | {"particles": 2, "sweeps": 16},
    "csmc-5": PARTICLES | {"particles": 5, "sweeps": 6},
    "csmc-5-blend-none-base": blended(PARTICLES | {"particles": 5, "sweeps": 6}, layer=0),
    "csmc-5-blend-final-target": blended(
        PARTICLES | {"particles": 5, "sweeps": 6, "proposal": "target"}, "final", -1, layer=0
    ),
}


SLOW = (
    *("tries-5-blend-none-base", "tries-2-blend-final-target", "ladder-4-no-swaps"),
    *("entropy-1-blend-final-target", "csmc-2", "csmc-5-blend-none-base"),
    *("csmc-5-blend-final-target", "ladder-4"),
)
"""Those that take longest, or differ least from others: `make test-slow`."""


def cheap_and_slow(kernels: Mapping[str, Decoding]) -> list[Any]:
    return [pytest.param(k, marks=pytest.mark.slow) if k in SLOW else k for k in kernels]


@pytest.fixture(scope="module")
def table() -> Source:
    model = TableModel(seed=4, vocabulary=VOCABULARY, eos=1, longest=CAP, prompt_tokens=2)
    return Source(model, [2, 0], model.reference)


@pytest.fixture(scope="module")
def transformer(hf: PreTrainedModel) -> Source:
    return transformer_source(hf)


def answers(source: Source, decoding: Decoding, samples: int) -> list[Generation]:
    return sample(source.model, [source.prompt], decoding, samples, seed=1, rows=512)[0]


def strings_of(found: list[Generation]) -> list[list[tuple[int, ...]]]:
    """Of each answer those of all rungs, the answer's own last."""
    return [[*(tuple(r.tokens) for r in a.replicas or ()), tuple(a.tokens)] for a in found]


def truth(source: Source, decoding: Mapping[str, Any]) -> tuple[list[Space], Floats]:
    """Spaces by rung, and the joint distribution of the rungs' strings."""
    vocabulary = VOCABULARY if isinstance(source.model, TableModel) else tiny.VOCABULARY
    exponents = [*decoding.get("ladder", ()), decoding["alpha"]]
    power = decoding.get("cut_power", 1.0) if "cut" in decoding else None
    proposal = decoding.get("proposal", "base")
    sizes = (vocabulary, tiny.EOS, decoding["max_new_tokens"])
    rungs = rungs_of(source.logits(decoding), sizes, exponents, proposal, power)
    blocks, steps = decoding.get("blocks", 1), decoding.get("steps", 0)
    schedule = (decoding["max_new_tokens"], blocks, steps)
    joint = rungs.distribution(*schedule, decoding.get("tries"), decoding.get("swaps", True))
    return list(rungs.spaces), joint


def p_values(source: Source, decoding: Decoding, samples: int) -> list[float]:
    """Of each rung's strings, and of neighbours' together: how well they fit the enumeration."""
    spaces, joint = truth(source, decoding)
    assert joint.sum() == pytest.approx(1)
    index = {string: i for i, string in enumerate(spaces[0].strings)}
    found = np.array(
        [[index[s] for s in strings] for strings in strings_of(answers(source, decoding, samples))]
    )
    count = len(spaces)
    fits = []
    for rung in range(count):
        marginal = joint.sum(tuple(k for k in range(count) if k != rung))
        fits.append(chi_squared(np.bincount(found[:, rung], minlength=len(index)), marginal))
    for rung in range(count - 1):
        pair = joint.sum(tuple(k for k in range(count) if k not in (rung, rung + 1)))
        together = found[:, rung] * len(index) + found[:, rung + 1]
        fits.append(
            chi_squared(np.bincount(together, minlength=pair.size), np.maximum(pair.ravel(), 0))
        )
    return fits


def test_answers_end_early_late_and_never(table: Source) -> None:
    """In the targets that all of these are compared with."""
    (space,), joint = truth(table, POWER)
    ended = space.ended
    for some in (ended & (space.lengths <= 2), ended & (space.lengths > 2), ~ended):
        assert joint[some].sum() > 0.02


@pytest.mark.parametrize("kernel", cheap_and_slow(ON_A_TABLE))
def test_answers_follow_their_exact_distribution(kernel: str, table: Source) -> None:
    assert min(p_values(table, ON_A_TABLE[kernel], 700)) > NOT_REJECTED / 4


@pytest.mark.parametrize("kernel", ON_A_TRANSFORMER)
def test_answers_of_a_transformer_do(kernel: str, transformer: Source) -> None:
    assert min(p_values(transformer, ON_A_TRANSFORMER[kernel], 400)) > NOT_REJECTED / 4


KERNELS: dict[str, Decoding] = {
    "entropy": ENTROPY | {"cut_power": 4},
    "tries": POWER | {"tries": 3},
    "ladder": POWER | {"ladder": [1.2, 1.8]},
    "all": blended(ENTROPY | {"ladder": [1.2], "tries": 2, "proposal": "target"}, "final"),
    "draft": POWER | DRAFT | {"ladder": [1.2]},
    "particles": blended(PARTICLES | {"particles": 4}),
    "csmc": PARTICLES | DRAFT | {"particles": 3, "sweeps": 3},
}
PROMPTS = [[2], [2, 0], [3, 0, 2, 2, 3], [2, 0, 3]]  # lengths from 1 on, a common start


def known(source: Source, decoding: Decoding, **how: Any) -> list[list[dict[str, Any]]]:
    """Everything about the answers but their share of the clock."""
    longer = decoding | {"max_new_tokens": 8, "token_values": True, "move_values": True}
    out = sample(source.model, PROMPTS, longer, **{"samples": 2, "seed": 11} | how)
    return [records([row]) for row in out]


def same(got: list[list[dict[str, Any]]], expected: list[list[dict[str, Any]]]) -> bool:
    """Equal strings, decisions and counts, of replicas too, and logs to the tolerance."""
    return got == [nearly(row) for row in expected]


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_order_company_and_recording_change_nothing(
    kernel: str, transformer: Source, request: pytest.FixtureRequest
) -> None:
    decoding = KERNELS[kernel]
    expected = known(transformer, decoding)
    for rows in (1, 5):
        assert same(known(transformer, decoding, rows=rows), expected)
    fewer = known(transformer, decoding, samples=1)
    assert same(fewer, [row[:1] for row in expected])
    assert not same(known(transformer, decoding, seed=12), expected)
    request.getfixturevalue("recordings")
    assert same(known(transformer, decoding, rows=6), expected)


@pytest.mark.parametrize("kernel", ["entropy", "tries", "ladder", "all"])
def test_saving_work_changes_no_decision(
    kernel: str, transformer: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = KERNELS[kernel] | {"steps": 4}
    saving = known(transformer, decoding)
    schedule = Power.schedule
    monkeypatch.setattr(
        Power, "schedule", lambda self: schedule(self)._replace(skip=False, early=False)
    )
    full = known(transformer, decoding)
    work, early = (
        [[record.pop(key) for row in out for record in row] for out in (saving, full)]
        for key in ("decoded_tokens", "early_rejected")
    )
    assert same(saving, full)
    assert sum(work[0]) < sum(work[1])
    assert sum(early[0]) > sum(early[1]) == 0


def target(source: Source, decoding: Mapping[str, Any]) -> tuple[Space, Floats]:
    """Of conditional particles, whose sweeps are enough to forget where they began."""
    (space,), _ = truth(source, decoding | {"blocks": 1})
    return space, space.target(CAP)


def fit(source: Source, decoding: Decoding, samples: int) -> float:
    space, exact = target(source, decoding)
    counts = Counter(tuple(a.tokens) for a in answers(source, decoding, samples))
    return chi_squared(np.array([counts[s] for s in space.strings]), exact)


@pytest.mark.parametrize("kernel", cheap_and_slow(CONDITIONAL))
def test_conditional_particles_reach_their_target(kernel: str, table: Source) -> None:
    assert fit(table, CONDITIONAL[kernel], 400) > NOT_REJECTED


def normaliser_error(space: Space, found: list[Generation]) -> float:
    """Of the mean estimate of sum_x t(x), in its standard errors."""
    estimates = np.exp([a.log_normaliser or 0.0 for a in found])
    truth = np.exp(space.log_t.sum(1)[space.states(CAP)]).sum()
    return float((estimates.mean() - truth) / (estimates.std() / np.sqrt(len(found))))


def uncorrected(self: Law, trace: Trace, length: int | None = None) -> float:
    return 1.0


def by_length(self: Law, trace: Trace, length: int | None = None) -> float:
    return float(len(trace) if length is None else length)


@pytest.mark.parametrize(
    ("kernel", "wrong"),
    [
        ("entropy-4", uncorrected),
        ("entropy-4", by_length),
    ],
)
def test_cuts_that_are_not_corrected_are_rejected(
    kernel: str, wrong: Callable[..., float], table: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = ON_A_TABLE[kernel] | {"steps": 6, "alpha": 1.5}
    monkeypatch.setattr(Law, "cut_mass", wrong)
    assert min(p_values(table, decoding, 700)) < NOT_REJECTED / 100


@pytest.mark.parametrize("tries", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_tries_without_the_chance_of_the_cut_are_rejected(
    tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a table whose answers differ more in length; nothing is given up, that would hide it."""
    model = TableModel(seed=6, vocabulary=VOCABULARY, eos=1, longest=CAP, prompt_tokens=2)
    uneven = Source(model, [2, 0], model.reference)
    decoding = POWER | {"tries": tries, "steps": 6, "alpha": 1.5}
    schedule = Power.schedule
    monkeypatch.setattr(Power, "schedule", lambda self: schedule(self)._replace(early=False))
    assert p_values(uneven, decoding, 300)[0] > NOT_REJECTED
    monkeypatch.setattr(Law, "cut_mass", uncorrected)
    assert p_values(uneven, decoding, 300)[0] < NOT_REJECTED / 100


def test_swaps_by_the_inverse_ratio_are_rejected(
    table: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Ladder._log_swap_ratio
    monkeypatch.setattr(Ladder, "_log_swap_ratio", lambda self, rung: -right(self, rung))
    assert min(p_values(table, ON_A_TABLE["ladder-2"], 700)) < NOT_REJECTED / 100


def grown(weights: Sequence[float]) -> list[Trace]:
    """What strings became that drew a token each, of these log weights."""
    return [Trace(np.array([2]), *(np.array([w]) for w in (-1.0, -1.0, w))) for w in weights]


def test_weights_are_equal_after_resampling_and_their_mean_is_kept() -> None:
    """So that the estimate of the normaliser is the product of the mean weights."""
    particles = Particles([1, 2], 4, 1, Stream(0, "a", 0), Ending([1]))
    first, second = (0.0, -9.0, -9.0, -9.0), (-1.0, -2.0, -3.0, -4.0)
    for weights in (first, second):
        assert len(particles.begin()) == 4
        particles.finish(grown(weights))
    assert particles.begin() == []
    means = [np.log(np.exp(weights).mean()) for weights in (first, second)]
    assert particles.log_normaliser == pytest.approx(sum(means))
    shares = np.exp(second) / np.exp(second).sum()
    assert {round(r.weight or 0, 9) for r in particles.replicas} < set(shares.round(9))


def weights_kept(self: Particles) -> None:
    """Resample as `Particles` does, and leave every string the weight that it was chosen by."""
    shares = np.exp(self._log_weights) / np.exp(self._log_weights).sum()
    if 1 / (shares**2).sum() < self._count / 2:
        ancestors = self._ancestors(shares)
        self._strings = [self._strings[number] for number in ancestors]
        self._log_weights = self._log_weights[ancestors]


@pytest.mark.slow
def test_weights_that_are_kept_after_resampling_are_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a table whose weights differ enough that a quarter of the blocks end in resampling."""
    model = TableModel(seed=6, vocabulary=VOCABULARY, eos=1, longest=CAP, prompt_tokens=2)
    uneven = Source(model, [2, 0], model.reference)
    decoding = PARTICLES | {"alpha": 4.0, "particles": 5, "sweeps": 10}
    assert fit(uneven, decoding, 1000) > NOT_REJECTED
    monkeypatch.setattr(Particles, "_resample", weights_kept)
    assert fit(uneven, decoding, 1000) < NOT_REJECTED / 100


@pytest.mark.slow
def test_a_path_that_is_not_kept_is_rejected(
    table: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By as many answers and sweeps as the right kernel is not rejected by, above."""
    monkeypatch.setattr(Particles, "_first_free", 0)
    assert fit(table, CONDITIONAL["csmc-5"], 400) < NOT_REJECTED / 100


@pytest.mark.slow
def test_plain_particles_are_consistent_and_their_normaliser_is_unbiased(table: Source) -> None:
    """Bounds are four standard errors, or more, of these numbers of answers."""
    space, exact = target(table, PARTICLES)
    index = {s: i for i, s in enumerate(space.strings)}
    distances = []
    for particles, samples in ((2, 1200), (16, 400)):
        found = answers(table, PARTICLES | {"particles": particles}, samples)
        assert abs(normaliser_error(space, found)) < 4
        counts = np.bincount([index[tuple(a.tokens)] for a in found], minlength=len(index))
        distances.append(total_variation(counts / samples, exact))
    assert distances[1] < distances[0] / 2
