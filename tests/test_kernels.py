"""Kernels alone: together, in any company, saving work, and the faults of their parts.

That each follows its distribution is seen in `test_kernel_matrix`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedModel

from enumeration import Space, total_variation
from equality import nearly, records
from kernel_laws import Decoding, Source, answers, p_values, target
from powerblend import Generation, sample
from powerblend.engine.endings import Ending
from powerblend.engine.particles import Particles
from powerblend.engine.randomness import Stream
from powerblend.engine.strings import Law, Trace
from powerblend.samplers import Power
from table_model import TableModel
from test_exactness import DRAFT, NOT_REJECTED, blended, transformer_source

CAP, VOCABULARY = 4, 3
POWER = {"sampler": "power", "alpha": 2.5, "max_new_tokens": CAP, "blocks": 2, "steps": 2}
ENTROPY = POWER | {"cut": "entropy"}
PARTICLES = {"sampler": "particles", "alpha": 2.5, "max_new_tokens": CAP, "blocks": 4}

ALL_AT_ONCE = blended(ENTROPY | {"tries": 2, "ladder": [1.2]}, "final", layer=0)
CONDITIONAL = PARTICLES | {"particles": 5, "sweeps": 6}


@pytest.fixture(scope="module")
def table() -> Source:
    model = TableModel(seed=4, vocabulary=VOCABULARY, eos=1, longest=CAP, prompt_tokens=2)
    return Source(model, [2, 0], model.reference)


@pytest.fixture(scope="module")
def transformer(hf: PreTrainedModel) -> Source:
    return transformer_source(hf)


def test_all_of_them_at_once_follow_their_exact_distribution(table: Source) -> None:
    """Each of them alone, with every target: test_kernel_matrix.py."""
    assert min(p_values(table, ALL_AT_ONCE, 700)) > NOT_REJECTED / 4


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


def normaliser_error(space: Space, found: list[Generation]) -> float:
    """Of the mean estimate of sum_x t(x), in its standard errors."""
    estimates = np.exp([a.log_normaliser or 0.0 for a in found])
    truth = np.exp(space.log_t.sum(1)[space.states(CAP)]).sum()
    return float((estimates.mean() - truth) / (estimates.std() / np.sqrt(len(found))))


def by_length(self: Law, trace: Trace, length: int | None = None) -> float:
    return float(len(trace) if length is None else length)


def test_cuts_that_are_corrected_by_length_alone_are_rejected(
    table: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = ENTROPY | {"cut_power": 4, "steps": 6, "alpha": 1.5}
    monkeypatch.setattr(Law, "cut_mass", by_length)
    assert min(p_values(table, decoding, 700)) < NOT_REJECTED / 100


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
    assert min(p_values(uneven, decoding, 1000)) > NOT_REJECTED
    monkeypatch.setattr(Particles, "_resample", weights_kept)
    assert min(p_values(uneven, decoding, 1000)) < NOT_REJECTED / 100


@pytest.mark.slow
def test_a_path_that_is_not_kept_is_rejected(
    table: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By as many answers and sweeps as the right kernel is not rejected by."""
    assert min(p_values(table, CONDITIONAL, 400)) > NOT_REJECTED
    monkeypatch.setattr(Particles, "_first_free", 0)
    assert min(p_values(table, CONDITIONAL, 400)) < NOT_REJECTED / 100


@pytest.mark.slow
def test_plain_particles_are_consistent_and_their_normaliser_is_unbiased(table: Source) -> None:
    """Bounds are four standard errors, or more, of these numbers of answers."""
    (space,), exact = target(table, PARTICLES)
    index = {s: i for i, s in enumerate(space.strings)}
    distances = []
    for particles, samples in ((2, 1200), (16, 400)):
        found = answers(table, PARTICLES | {"particles": particles}, samples)
        assert abs(normaliser_error(space, found)) < 4
        counts = np.bincount([index[tuple(a.tokens)] for a in found], minlength=len(index))
        distances.append(total_variation(counts / samples, exact))
    assert distances[1] < distances[0] / 2
