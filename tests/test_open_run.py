"""A batch that is never closed: what comes late, goes early or shares it changes no answer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import tiny
from equality import nearly, untimed
from powerblend import Generation, Model, load_model, sample
from powerblend.api.generation import requests_of
from powerblend.api.open_run import OpenRun
from powerblend.samplers import parse_sampler

POWER: dict[str, Any] = {
    "sampler": "power",
    "alpha": 3.0,
    "max_new_tokens": 8,
    "blocks": 2,
    "steps": 2,
}
CONDITIONS = {
    "ps": POWER,
    "ladder": POWER | {"ladder": [1.0, 2.0]},
    "particles": {"sampler": "particles", "alpha": 3.0, "max_new_tokens": 8, "blocks": 2},
}
PROMPTS = [[5, 6, *range(7, 7 + n % 11)] for n in range(9)]
SEED, ROWS = 2, 4


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(tiny.transformer(vocabulary=24))


class Watched:
    """A run with all of `PROMPTS` as its requests, one more at each step, and its answers."""

    def __init__(self, model: Model, decoding: dict[str, Any]) -> None:
        sampler = parse_sampler(decoding)
        self.run = OpenRun(model, sampler, max(map(len, PROMPTS)), ROWS)
        self._coming = list(enumerate(requests_of(model, PROMPTS, sampler, 1)))
        self.answers: dict[int, dict[str, Any]] = {}

    def finish(self, each_step: Callable[[int], None] = lambda step: None) -> None:
        step = 0
        while self._coming or self.run.unfinished:
            if self._coming:
                number, request = self._coming.pop(0)
                self.run.submit(request, SEED, number)
            for number, answer in self.run.step():
                self.answers[number] = record(answer)
            each_step(step)
            step += 1


def record(answer: Generation) -> dict[str, Any]:
    """What `equality.nearly` compares."""
    kept = untimed(answer.as_record())
    return {k: v for k, v in kept.items() if k not in ("token_log_p", "log_normaliser")}


def alone(model: Model, decoding: dict[str, Any]) -> list[dict[str, Any]]:
    answers = sample(model, PROMPTS, decoding, seed=SEED, rows=ROWS)
    return nearly([record(answer) for (answer,) in answers])


@pytest.mark.parametrize("recorded", [False, True], ids=["cpu", "recorded"])
@pytest.mark.parametrize("decoding", CONDITIONS.values(), ids=CONDITIONS)
def test_requests_that_come_and_go_change_no_answer(
    decoding: dict[str, Any], recorded: bool, model: Model, request: pytest.FixtureRequest
) -> None:
    expected = alone(model, decoding)
    if recorded:
        request.getfixturevalue("recordings")
    watched = Watched(model, decoding)
    gone = {1, 5, 6}

    def leave(step: int) -> None:
        if step == 7:
            watched.run.cancel(gone)

    watched.finish(leave)
    assert set(range(len(PROMPTS))) - set(watched.answers) == gone
    assert all(answer == expected[number] for number, answer in watched.answers.items())


def test_who_leaves_frees_the_row_at_once(model: Model) -> None:
    watched = Watched(model, POWER)
    seen = []

    def leave(step: int) -> None:
        if step == 7:
            seen.append((watched.run.unfinished, watched.run.waiting))
            watched.run.cancel(watched.run.names)
            seen.append((watched.run.unfinished, watched.run.waiting))

    watched.finish(leave)
    (before, waiting), after = seen
    assert before - waiting == ROWS
    assert waiting > 0
    assert after == (0, 0)
    # The rows are there for who comes later.
    assert {8} <= set(watched.answers)


@pytest.mark.usefixtures("recordings")
def test_what_a_step_under_way_did_for_who_has_left_is_passed_over(model: Model) -> None:
    """A step is launched before the last one is looked at; what leaves between them is no row."""
    staying, finished_at, gone = Watched(model, POWER), dict[int, int](), 4

    def note(step: int) -> None:
        for number in staying.answers:
            finished_at.setdefault(number, step)

    staying.finish(note)
    leaving = Watched(model, POWER)

    def leave(step: int) -> None:
        if step == finished_at[gone] - 1:  # its last proposal ends in the step under way
            leaving.run.cancel({gone})

    leaving.finish(leave)
    assert leaving.answers == {n: answer for n, answer in staying.answers.items() if n != gone}


SHARED = list(range(3, 21))
SHARING = [[*SHARED, 5, 6], [*SHARED, 7, 8, 9], [*SHARED, 9, 5]]


@pytest.fixture
def prefilled(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and tokens of every pass that reads prompts."""
    prefill, passes = Model.prefill, list[tuple[int, int]]()

    def noted(model: Model, cache: Any, slots: slice, start: Any, tokens: Any) -> None:
        passes.append(tuple(tokens.shape))
        prefill(model, cache, slots, start, tokens)

    monkeypatch.setattr(Model, "prefill", noted)
    return passes


def finished(run: OpenRun) -> dict[int, Generation]:
    answers = dict[int, Generation]()
    while run.unfinished:
        answers |= dict(run.step())
    return answers


@pytest.mark.parametrize(
    ("come", "passes"),
    [
        # A prompt's last token is fed by the first step.
        pytest.param("later", [(1, 19), (1, 2), (1, 1)], id="a row at work has it"),
        pytest.param("after", [(1, 19), (1, 2), (1, 1)], id="no row is at work any more"),
        pytest.param("together", [(1, 18), (3, 2)], id="they come together"),
    ],
)
@pytest.mark.parametrize("decoding", [POWER, CONDITIONS["particles"]], ids=["ps", "particles"])
def test_what_prompts_begin_with_is_computed_once(
    decoding: dict[str, Any],
    come: str,
    passes: list[tuple[int, int]],
    model: Model,
    prefilled: list[tuple[int, int]],
) -> None:
    sampler = parse_sampler(decoding)
    expected = sample(model, SHARING, decoding, seed=SEED)
    prefilled.clear()
    run, answers = OpenRun(model, sampler, 21, 24), dict[int, Generation]()
    for number, request in enumerate(requests_of(model, SHARING, sampler, 1)):
        run.submit(request, SEED, number)
        if come == "later":
            answers |= dict(run.step())
        if come == "after":
            answers |= finished(run)
    answers |= finished(run)
    assert prefilled == passes
    assert [record(answers[n]) for n in range(3)] == nearly([record(row[0]) for row in expected])


def test_a_short_beginning_is_read_by_each(model: Model, prefilled: list[tuple[int, int]]) -> None:
    """A pass of its own reads all weights once more, for less than it spares."""
    sampler = parse_sampler(POWER)
    run = OpenRun(model, sampler, 4, 4)
    for number, request in enumerate(requests_of(model, [[3, 4, 5], [3, 4, 6]], sampler, 1)):
        run.submit(request, SEED, number)
    run.step()
    assert prefilled == [(2, 2)]


def test_where_memory_ends_the_unfinished_start_again_with_half_the_rows(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(model, POWER)
    step, steps = Model.step, []

    def failing(*arguments: Any) -> Any:
        steps.append(arguments)
        if len(steps) == 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(*arguments)

    monkeypatch.setattr(Model, "step", failing)
    watched = Watched(model, POWER)
    watched.finish()
    assert watched.run.rows == ROWS // 2
    assert [watched.answers[number] for number in range(len(PROMPTS))] == expected


def test_every_token_has_its_log_p(model: Model) -> None:
    sampler = parse_sampler(POWER)
    run = OpenRun(model, sampler, 4, 1)
    run.submit(requests_of(model, [[5, 6]], sampler, 1)[0], SEED, "name")
    ((name, answer),) = [done for _ in range(100) for done in run.step()]
    assert name == "name"
    assert answer.token_log_p is not None
    assert sum(answer.token_log_p) == pytest.approx(answer.log_p, abs=1e-12)
