"""Each speed-up saves work and changes no decision: same random numbers, with it and without."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import pytest
import torch

import tiny
from equality import nearly, records
from powerblend import Generation, Model, load_model, sample
from powerblend.engine import scheduler
from powerblend.engine.batch import Batch, FinishedRow
from powerblend.engine.chain import Schedule, Trace
from powerblend.samplers import Power
from table_model import TableModel

PROMPTS = [[5, 6, n] for n in range(7, 13)]
BLEND = {"source": "layer", "layer": 1, "beta": 0.2}
CONDITIONS: dict[str, dict[str, Any]] = {
    "ps": {},
    "blend_ps": {"blend": BLEND},
    "blend_ps-target": {"blend": BLEND, "proposal": "target"},
    "ps-published": {"mh": "published"},
}
REJECTING_EARLY = {"ps", "blend_ps-target"}
"""Where target and proposal are powers of one distribution, so that no log weight is positive."""


class Slow(Power):
    """Power sampling without its savings."""

    skip: bool = False
    early: bool = False

    def schedule(self) -> Schedule:
        full = super().schedule()
        return full._replace(skip=self.skip, early=full.early and self.early)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(tiny.save(tmp_path_factory.mktemp("model")), dtype="float64")


@pytest.fixture(scope="module")
def known(model: Model) -> Callable[..., list[Generation]]:
    """`answers` of the model on one device without delays, computed once for all tests."""
    return cache(partial(answers, model))


def answers(model: Model, condition: str, rows: int = 32, **savings: bool) -> list[Generation]:
    keys = {"alpha": 3.0, "max_new_tokens": 24, "blocks": 3, "steps": 8, **CONDITIONS[condition]}
    sampler = Slow(sampler="power", **keys, **savings)
    return [g for row in sample(model, PROMPTS, sampler, samples=4, seed=3, rows=rows) for g in row]


def decisions(generations: list[Generation]) -> list[tuple[Any, ...]]:
    return [
        (g.tokens, g.moves, g.accepted, g.unchanged, g.accepted_by_block, g.finish)
        for g in generations
    ]


def decoded(generations: list[Generation]) -> int:
    return sum(g.decoded_tokens for g in generations)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_divergence_skip_changes_no_decision(
    known: Callable[..., list[Generation]], condition: str
) -> None:
    slow, fast = known(condition), known(condition, skip=True)
    assert decisions(fast) == decisions(slow)
    assert sum(g.unchanged for g in slow) > 0
    assert decoded(fast) < decoded(slow)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_early_rejection_changes_no_decision(
    known: Callable[..., list[Generation]], condition: str
) -> None:
    slow, fast = known(condition), known(condition, early=True)
    assert decisions(fast) == decisions(slow)
    early = sum(g.early_rejected for g in fast)
    assert (early > 0) == (condition in REJECTING_EARLY)
    assert (decoded(fast) < decoded(slow)) == (condition in REJECTING_EARLY)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_both_are_on_by_default(
    model: Model, known: Callable[..., list[Generation]], condition: str
) -> None:
    both = known(condition, skip=True, early=True)
    keys = {"alpha": 3.0, "max_new_tokens": 24, "blocks": 3, "steps": 8, **CONDITIONS[condition]}
    default = sample(model, PROMPTS, {"sampler": "power", **keys}, samples=4, seed=3)
    assert records(default) == nearly(records([both]))


def test_a_shared_prefix_is_run_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[tuple[int, ...]] = []
    prefill = Model.prefill

    def watched(self: Model, cache: Any, slots: slice, start: torch.Tensor, tokens: Any) -> None:
        run.append(tuple(tokens.shape))
        prefill(self, cache, slots, start, tokens)

    monkeypatch.setattr(Model, "prefill", watched)
    prompts = [[*range(2, 22), n, n + 1] for n in range(30, 34)]
    sample(model, prompts, {"sampler": "greedy", "max_new_tokens": 2}, samples=3)
    assert run == [(1, 20), (4, 1)]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_recorded_steps_change_nothing(
    model: Model, known: Callable[..., list[Generation]], condition: str, request: Any
) -> None:
    plain = known(condition, skip=True, early=True)
    recordings = request.getfixturevalue("recordings")
    recorded = answers(model, condition, skip=True, early=True)
    assert records([recorded]) == nearly(records([plain]))
    assert {2, 4, 8, 16, 24} <= set(recordings) <= {1, 2, 4, 8, 16, 24}
    assert len(recordings) < decoded(plain) / 10


@pytest.mark.parametrize("own_lengths", [False, True])
def test_one_recording_serves_all_lengths_where_rows_know_their_own(
    own_lengths: bool, recordings: list[int]
) -> None:
    model = TableModel(seed=3, vocabulary=2, eos=1, longest=12, prompt_tokens=2)
    model.own_lengths = own_lengths
    model.base[:, 1] -= 3.0  # few strings are short
    decoding = {"sampler": "power", "alpha": 1.5, "max_new_tokens": 12, "blocks": 3, "steps": 2}
    sample(model, [[0, 0]], decoding, samples=24)
    assert (len(recordings) == len(set(recordings))) == own_lengths
    assert len(set(recordings)) > 1


def test_vacant_rows_have_nothing_to_read(
    model: Model, recordings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorded step reads them too, as far as their positions say."""
    vacant, launch = [], scheduler.Scheduler._launch

    def watched(self: scheduler.Scheduler, live: int) -> Any:
        vacant.extend(self._batch.inputs(self.rows, 1).positions[live:].tolist())
        return launch(self, live)

    monkeypatch.setattr(scheduler.Scheduler, "_launch", watched)
    answers(model, "ps", skip=True)
    shared = 2
    assert set(vacant) == {shared}


@pytest.mark.parametrize(
    "ahead", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_deciding_later_changes_nothing(
    model: Model,
    known: Callable[..., list[Generation]],
    condition: str,
    ahead: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = known(condition, skip=True, early=True)
    monkeypatch.setitem(scheduler.STEPS_AHEAD, "cpu", ahead)
    later = answers(model, condition, skip=True, early=True)
    assert records([later]) == nearly(records([plain]))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_finished_rows_are_read_as_they_were_at_the_fence(
    model: Model,
    known: Callable[..., list[Generation]],
    condition: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever is asked of the device after it may not have been done yet."""
    plain = known(condition, skip=True, early=True, rows=7)
    monkeypatch.setitem(scheduler.STEPS_AHEAD, "cpu", 1)
    monkeypatch.setattr(scheduler, "Batch", DelayedBatch)
    late = answers(model, condition, skip=True, early=True, rows=7)
    assert records([late]) == nearly(records([plain]))


class DelayedBatch(Batch):
    """Batch whose tokens are read in the last state that is sure to be there."""

    def fence(self) -> None:
        super().fence()
        self._past = self._drawn.clone()

    def finished(self, suffixes: Sequence[FinishedRow]) -> list[Trace]:
        present, self._drawn = self._drawn, self._past
        try:
            return super().finished(suffixes)
        finally:
            self._drawn = present
