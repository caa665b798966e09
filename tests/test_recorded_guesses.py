"""Recorded steps check guesses too: same strings and decisions, fewer steps, few recordings."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from equality import nearly, records
from powerblend import Generation, Model, load_model, sample
from powerblend.api.generation import Run, requests_of
from powerblend.engine import cuda_graphs, scheduler
from powerblend.engine.batch import Batch
from powerblend.engine.chain import Proposal
from powerblend.engine.guesses import MOST_GUESSED, WIDTHS, Guessing, Rates, Written, best_width
from powerblend.engine.scheduler import Scheduler
from powerblend.samplers import parse_sampler
from table_model import TableModel
from tape import Tape
from test_speculation import BLEND, CHAIN, DECODINGS, DRAFT, LONGEST, PROMPTS
from test_speculation import without_logs_of_replicas as rounded

CONDITIONS = DECODINGS | {"target": CHAIN | {"blend": BLEND, "proposal": "target"}}


class Launch(NamedTuple):
    """A step as it was launched: its rows, the tokens fed to each, and the steps then under way."""

    rows: int
    width: int
    under_way: int


class Recorder:
    """What was recorded and launched, by a device that is like a GPU."""

    def __init__(self) -> None:
        self.steps: list[cuda_graphs.Recorded] = []
        self.launches: list[Launch] = []

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Rows, length and width of every recording."""
        return [shape for step in self.steps for shape in step._recordings]

    @property
    def widths(self) -> set[int]:
        return {launch.width for launch in self.launches}


@pytest.fixture
def recorder(recordings: list[int], monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Steps that are recorded on a tape, on a device for which as many guesses pay as on a GPU."""
    recorder = Recorder()
    start, launch = cuda_graphs.Recorded.__init__, Scheduler._launch

    def record(run: Callable[[], Tensor], *_: Any) -> cuda_graphs.Recording:
        for _ in range(cuda_graphs.WARM_UP_RUNS):
            run()
        tape = Tape(run)
        return cuda_graphs.Recording(tape, tape.outcome)

    def started(self: cuda_graphs.Recorded, *given: Any) -> None:
        start(self, *given)
        recorder.steps.append(self)

    def launched(self: Scheduler, live: int) -> scheduler.Launched:
        under_way = len(self._launched)
        step = launch(self, live)
        recorder.launches.append(Launch(live, step.width, under_way))
        return step

    monkeypatch.setattr(cuda_graphs, "record", record)
    monkeypatch.setattr(cuda_graphs.Recorded, "__init__", started)
    monkeypatch.setattr(Scheduler, "_launch", launched)
    as_on_a_gpu(monkeypatch)
    return recorder


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let as many guesses pay."""
    for constant in (scheduler.RIDGE, scheduler.MOST_GUESSED_IN_STEP):
        monkeypatch.setitem(constant, "cpu", constant["cuda"])


@pytest.fixture(scope="module")
def table() -> TableModel:
    """Which tokens are likely, and that few strings are short, makes some of them repeat others."""
    model = TableModel(seed=3, vocabulary=3, eos=1, longest=LONGEST, prompt_tokens=2)
    model.base[:, 1] -= 3.0
    return model


def answers(model: Any, name: str, samples: int = 3, **how: Any) -> list[list[Generation]]:
    return sample(model, PROMPTS, CONDITIONS[name], samples=samples, seed=3, **how)


def passes(out: Sequence[Sequence[Generation]]) -> int:
    return sum(g.passes for row in out for g in row)


@pytest.mark.parametrize(
    "rows", [1, 3, *(pytest.param(rows, marks=pytest.mark.slow) for rows in (16, 64))]
)
@pytest.mark.parametrize("name", CONDITIONS)
def test_strings_and_counts_are_those_without(
    name: str, rows: int, table: TableModel, request: pytest.FixtureRequest
) -> None:
    """And those of steps that are not recorded; few rows have fewer steps than without guesses."""
    samples = {1: 1, 3: 2, 16: 16, 64: 40}[rows]
    unrecorded = answers(table, name, samples, rows=rows, speculate="off")
    expected = nearly(rounded(unrecorded))
    recorder = request.getfixturevalue("recorder")
    plain = answers(table, name, samples, rows=rows, speculate="off")
    assert recorder.widths == {1}
    guessed = answers(table, name, samples, rows=rows)
    assert records(plain) == records(guessed) == expected
    assert passes(guessed) <= passes(plain)
    if rows <= 3:
        assert passes(guessed) < passes(plain)
        assert len(recorder.widths) > 1


@pytest.mark.parametrize("blend", [None, BLEND], ids=["ps", "layer"])
def test_strings_of_a_transformer_are(
    blend: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # With several threads all is torch's, and a tape knows nothing else.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    model = load_model(tiny.transformer(vocabulary=12))
    decoding = CHAIN | {"steps": 2, "max_new_tokens": 24} | ({"blend": blend} if blend else {})
    plain = sample(model, PROMPTS, decoding, samples=2, speculate="off")
    recorder = request.getfixturevalue("recorder")
    guessed = sample(model, PROMPTS, decoding, samples=2, rows=3)
    assert records(guessed) == nearly(records(plain))
    assert passes(guessed) < 0.9 * passes(plain)
    assert recorder.widths == set(WIDTHS)


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_nothing_is_fed_past_the_last_position(
    family: str, recordings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which some models look up in a table, and has no place behind it in the cache.

    Shorter prompts' rows have room behind their caps, for which there are numbers to look up.
    """
    prompts = [[5, 6, 7] * 5, [5, 6, 9]]
    longest = len(prompts[0]) + 24
    hf = tiny.transformer(family, vocabulary=12, max_position_embeddings=longest)
    model = load_model(hf, eos_token_ids=[2])
    decoding = CHAIN | {"max_new_tokens": 24}
    fed, forward = [], Model.forward

    def watched(
        self: Model, cache: Any, slots: Any, tokens: Any, positions: Any, *more: Any
    ) -> Any:
        fed.append(int(positions.max()))
        return forward(self, cache, slots, tokens, positions, *more)

    monkeypatch.setattr(Model, "forward", watched)
    as_on_a_gpu(monkeypatch)
    plain = sample(model, prompts, decoding, speculate="off")
    guessed = sample(model, prompts, decoding)
    assert records(guessed) == nearly(records(plain))
    assert passes(guessed) < passes(plain)
    assert max(fed) < longest


@pytest.mark.parametrize("name", ["base", "power", "particles"])
def test_replays_read_the_guesses_of_their_own_step(
    name: str, table: TableModel, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many are kept as if every step were made anew, and none if none is where it is looked for.

    A guess that is not there costs a step, and no string.
    """
    replayed = answers(table, name, 8, rows=3)
    monkeypatch.setattr(
        cuda_graphs,
        "record",
        lambda run, *_: cuda_graphs.Recording(lambda: outcome.copy_(run()), outcome := run()),
    )
    anew = answers(table, name, 8, rows=3)
    assert records(replayed) == nearly(rounded(anew))
    assert passes(replayed) == passes(anew)
    monkeypatch.setattr(Batch, "put_guesses", lambda *_: None)
    lost = answers(table, name, 8, rows=3)
    assert records(lost) == nearly(rounded(anew))
    assert passes(lost) > passes(anew)


def test_a_tape_keeps_what_the_host_had() -> None:
    numbers, tokens = [1, 2], torch.tensor([1, 2])
    tape = Tape(lambda: tokens + torch.tensor(numbers))
    tokens += 10
    numbers[:] = [100, 100]
    tape()
    assert tape.outcome.tolist() == [12, 14]
    with pytest.raises(AssertionError, match="makes the host wait"):
        Tape(lambda: tokens * int(tokens[0]))


def test_there_are_few_recordings(table: TableModel, recorder: Recorder) -> None:
    """Of every width one for a number of rows, a power of two, and a length."""
    answers(table, "power", 60, rows=8)
    assert len(recorder.shapes) == len(set(recorder.shapes))
    assert {rows for rows, _, _ in recorder.shapes} <= {1, 2, 4, 8}
    assert {width for _, _, width in recorder.shapes} == recorder.widths > {1}
    lengths = {length for _, length, _ in recorder.shapes}
    assert lengths <= {8, 14}
    assert len(recorder.shapes) < len(recorder.launches) / 10


def test_steps_that_check_guesses_wait_and_others_go_ahead(
    table: TableModel, recorder: Recorder
) -> None:
    """From one to the other and back, as guesses are there to check and are not."""
    answers(table, "base", 8, rows=2)
    checking = [launch for launch in recorder.launches if launch.width > 1]
    others = [launch for launch in recorder.launches if launch.width == 1]
    assert {launch.under_way for launch in checking} == {0}
    assert {launch.under_way for launch in others} == {0, 1}
    ahead = [launch.under_way for launch in recorder.launches]
    assert sum(now != then for then, now in pairwise(ahead)) > 4


def test_where_nothing_can_be_guessed_all_steps_go_ahead(
    table: TableModel, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guessing, "foresee", lambda *_: [])
    plain = answers(table, "power", rows=3)
    assert recorder.widths == {1}
    assert [launch.under_way for launch in recorder.launches[1:]] == [1] * (
        len(recorder.launches) - 1
    )
    assert passes(plain) == sum(g.decoded_tokens for row in plain for g in row)


def test_many_rows_guess_nothing_until_few_are_left(table: TableModel, recorder: Recorder) -> None:
    """More than 64, of four tokens each."""
    sampler = parse_sampler(CHAIN)
    run = Run(table, requests_of(table, PROMPTS, sampler, 50), sampler, 5, 80)
    assert sum(map(len, run.steps())) == 100
    checking = [launch.rows for launch in recorder.launches if launch.width > 1]
    assert max(launch.rows for launch in recorder.launches) == 80
    assert 0 < max(checking) <= 64
    assert all(
        launch.width * launch.rows <= 256 for launch in recorder.launches if launch.rows < 65
    )
    assert 0 < run.tally.guessed_right <= run.tally.guessed


def test_counts_of_guesses_are_of_those_that_were_fed(
    table: TableModel, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that a step drew beyond each row's first was a guess that it was fed."""
    fed, put = [], Batch.put_guesses

    def watched(self: Batch, guessed: Sequence[Sequence[int]]) -> None:
        fed.append(sum(map(len, guessed)))
        put(self, guessed)

    monkeypatch.setattr(Batch, "put_guesses", watched)
    sampler = parse_sampler(CHAIN)
    run = Run(table, requests_of(table, PROMPTS, sampler, 4), sampler, 5, 2)
    done = [generation for finished in run.steps() for _, generation in finished]
    tokens, steps = sum(g.decoded_tokens for g in done), sum(g.passes for g in done)
    assert run.tally.guessed == sum(fed)
    assert run.tally.decoded_tokens == tokens
    # The last token of a proposal may be one that was guessed, and has none behind it.
    assert tokens - steps <= run.tally.guessed_right <= tokens - steps + 2 * 4 * (4 + 1) * 2
    assert run.tally.guessed_right < run.tally.guessed


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_with_a_draft_no_guess_lies_behind_a_block_s_end(
    rows: int, recordings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fills rows up may, and is written over before it is read."""
    hf = tiny.transformer(vocabulary=12)
    model = load_model(hf, draft=tiny.draft(hf, block=4))
    decoding = CHAIN | {"blend": DRAFT, "max_new_tokens": 24}
    prompts = [[5, 6, 7, 8], [5, 6, 9]]
    crossed, fed, put = [], [], Batch.put_guesses

    def watched(self: Batch, guessed: Sequence[Sequence[int]]) -> None:
        for length, tokens in zip(self._index.tolist(), guessed, strict=False):
            behind = range(length + 1, length + 1 + len(tokens))
            fed.extend(behind)
            crossed.extend(place for place in behind if place % 4 == 1)
        put(self, guessed)

    monkeypatch.setattr(Batch, "put_guesses", watched)
    as_on_a_gpu(monkeypatch)
    plain = sample(model, prompts, decoding, samples=4, rows=rows, speculate="off")
    guessed = sample(model, prompts, decoding, samples=4, rows=rows)
    assert records(guessed) == nearly(records(plain))
    assert passes(guessed) < 0.9 * passes(plain)
    assert fed
    assert crossed == []


@pytest.mark.parametrize(
    ("chances", "rows", "expected"),
    [
        ([[]], 1, 1),
        ([[0.003] * 8], 1, 1),
        ([[0.5, 0.3, 0.2]], 1, 4),
        ([[0.9**n for n in range(1, 9)]], 1, 8),
        ([[0.9**n for n in range(1, 9)]] * 3, 4, 8),
        ([[0.5, 0.3, 0.2]] + [[]] * 63, 64, 1),
        ([[0.9, 0.8, 0.7]] * 64, 64, 4),
        ([[0.5, 0.1, 0.05]] * 64, 64, 1),
    ],
)
def test_a_width_is_worth_its_time(chances: list[list[float]], rows: int, expected: int) -> None:
    assert best_width(chances, WIDTHS, rows, ridge=256) == expected


def test_what_is_foreseen_and_not_fed_is_counted_as_a_guess_of_one_token() -> None:
    """By rates, which go on being learnt; not among guesses that were right, for none was made."""
    rates, prompt, none = Rates(), np.array([1, 2, 3, 4, 5, 1, 2, 3]), np.empty(0, np.int64)
    text = Guessing(Written(prompt), prompt, Proposal(0, 20, np.zeros(20), none, none))
    before = rates[3]
    assert text.foresee(rates, MOST_GUESSED) == [before, before * rates[4], ANY, ANY, ANY]
    assert text.drawn(1, 4, rates) == 0
    assert rates[3] > before
    text.foresee(rates, MOST_GUESSED)
    assert text.feed(2) == [5, 1]
    assert text.drawn(3, 2, rates) == 2
