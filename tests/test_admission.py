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


class Watch:
    """Of every step, whether free rows had better waited, and of every admission, how many jobs.

    ``reached`` is what free rows will have missed once the next is free, by the mean so far.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.admitted: list[int] = []
        self.left: list[int] = []
        self.reached: list[float] = []
        self.waited: list[float] = []
        self._missed = self._steps = self._done = 0
        assign, advance = Scheduler._assign_rows, Scheduler._advance

        def placed(scheduler: Scheduler, jobs: Sequence[Job]) -> None:
            self.admitted.append(len(jobs))
            self.left.append(len(scheduler._waiting))
            self.reached.append(self._reached(len(jobs)))
            self._missed = 0
            assign(scheduler, jobs)

        def advanced(scheduler: Scheduler) -> list[Finished]:
            free = scheduler.rows - len(scheduler._slots)
            if free and scheduler._waiting:
                self.waited.append(self._reached(free))
            self._missed += free
            done = advance(scheduler)
            self._steps, self._done = self._steps + 1, self._done + len(done)
            return done

        monkeypatch.setattr(Scheduler, "_assign_rows", placed)
        monkeypatch.setattr(Scheduler, "_advance", advanced)

    def _reached(self, free: int) -> float:
        return self._missed + free * self._steps / max(1, self._done)


def test_free_rows_wait_for_one_another_as_long_as_that_pays(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    answers(model)
    assert (watch.admitted[0], watch.left[-1]) == (ROWS, 0)
    assert sum(watch.admitted) == len(PROMPTS)
    assert len(watch.waited) > 5
    assert max(watch.waited) < ROWS <= min(watch.reached[1:-1])


def test_a_row_that_would_wait_long_for_the_next_does_not_wait(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    long = SAMPLING | {"max_new_tokens": 64}
    monkeypatch.setattr(model, "eos_token_ids", frozenset([23]))
    sample(model, PROMPTS, long, seed=2, rows=2)
    assert not watch.waited
    assert set(watch.admitted[1:]) <= {1, 2}


def test_the_last_jobs_do_not_wait(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    sample(model, PROMPTS[: ROWS + 1], SAMPLING, seed=2, rows=ROWS)
    assert (watch.admitted, watch.left) == ([ROWS, 1], [1, 0])
    assert not watch.waited


def test_further_samples_of_a_prompt_do_not_wait(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are copies of a row's keys: no weights are read for them."""
    watch = Watch(monkeypatch)
    sample(model, PROMPTS[:1], SAMPLING, samples=60, rows=ROWS)
    assert len(watch.admitted) > 2
    assert not watch.waited


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
    monkeypatch.setitem(scheduler.MAX_PADDING_TOKENS, "cpu", 0)
    assert [(a.tokens, a.accepted) for a in answers(model, decoding)] == padded
    assert few < 0.6 * (len(passes) - few)


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
