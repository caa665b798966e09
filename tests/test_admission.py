"""When waiting jobs are let in, and how their prompts are run: together, as long as that pays."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import tiny
from powerblend import Generation, Model, load_model, sample
from powerblend.engine import scheduler
from powerblend.engine.randomness import Stream
from powerblend.engine.scheduler import Finished, Job, Scheduler

SAMPLING: dict[str, Any] = {"sampler": "temperature", "temperature": 1.0, "max_new_tokens": 8}
POWER = {"sampler": "power", "alpha": 3.0, "max_new_tokens": 8, "blocks": 2, "steps": 3}
PROMPTS = [[5, 6, *range(7, 7 + n % 11)] for n in range(60)]
ROWS = 8


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(tiny.transformer(vocabulary=24))


def answers(model: Model, decoding: dict[str, Any] = SAMPLING) -> list[Generation]:
    return [row[0] for row in sample(model, PROMPTS, decoding, seed=2, rows=ROWS)]


class Admissions(list[tuple[int, int, int]]):
    """Of every admission: jobs, jobs that wait on, and turns that free rows had missed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._missed = 0
        place, advance = Scheduler._place, Scheduler._advance

        def placed(scheduler: Scheduler, jobs: Sequence[Job]) -> None:
            self.append((len(jobs), len(scheduler._waiting), self._missed))
            self._missed = 0
            place(scheduler, jobs)

        def advanced(scheduler: Scheduler) -> list[Finished]:
            self._missed += ROWS - len(scheduler._slots)
            return advance(scheduler)

        monkeypatch.setattr(Scheduler, "_place", placed)
        monkeypatch.setattr(Scheduler, "_advance", advanced)


def test_free_rows_wait_for_one_another_until_they_have_missed_a_step(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    admissions = Admissions(monkeypatch)
    answers(model)
    (first, _, _), *between, (last, left, _) = admissions
    assert (first, left) == (ROWS, 0)
    assert sum(jobs for jobs, _, _ in between) + first + last == len(PROMPTS)
    for jobs, _, missed in between:
        # All free rows are filled, once they have missed as many turns as a step has, and no later.
        assert missed < ROWS <= missed + jobs


def test_the_last_jobs_do_not_wait(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    admissions = Admissions(monkeypatch)
    sample(model, PROMPTS[: ROWS + 1], SAMPLING, seed=2, rows=ROWS)
    (_, waiting, _), (jobs, left, missed) = admissions
    assert (waiting, jobs, left, missed) == (1, 1, 0, 0)


def test_further_samples_of_a_prompt_do_not_wait(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are copies of a row's keys: no weights are read for them."""
    admissions = Admissions(monkeypatch)
    sample(model, PROMPTS[:1], SAMPLING, samples=60, rows=ROWS)
    assert len(admissions) > 2
    assert all(missed == 0 for _, _, missed in admissions)


@pytest.mark.parametrize("decoding", [SAMPLING, POWER], ids=["temp", "ps"])
def test_padding_changes_no_answer(
    decoding: dict[str, Any], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, run = [], Model.prefill

    def watched(self: Model, cache: Any, slots: slice, start: Any, tokens: Any) -> None:
        passes.append(tuple(tokens.shape))
        run(self, cache, slots, start, tokens)

    monkeypatch.setattr(Model, "prefill", watched)
    padded = [(a.tokens, a.accepted) for a in answers(model, decoding)]
    few = len(passes)
    monkeypatch.setitem(scheduler.PASS, "cpu", 0)
    assert [(a.tokens, a.accepted) for a in answers(model, decoding)] == padded
    assert few < (len(passes) - few) / 2


@pytest.mark.parametrize("padding", [0, 1, 5, 64, 10**6])
def test_batches_are_as_large_as_their_padding_allows(padding: int) -> None:
    lengths = [3, 9, 1, 4, 4, 70, 9, 2, 3, 200]
    jobs = [Job(np.zeros(n, np.int64), Stream(0, "", 0), i) for i, n in enumerate(lengths)]
    batches = list(scheduler._batches(jobs, padding))
    assert sorted(job.name for batch in batches for job in batch) == list(range(len(jobs)))
    for batch in batches:
        assert wasted([len(job.prompt) for job in batch]) <= padding
    for batch, (after, *_) in itertools.pairwise(batches):
        assert wasted([len(job.prompt) for job in [*batch, after]]) > padding


def wasted(lengths: list[int]) -> int:
    return max(lengths) * len(lengths) - sum(lengths)
