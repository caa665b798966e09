"""Guessed tokens save steps and change no string: same draws, with them and without."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from equality import nearly, records
from powerblend import Generation, Model, load_model, sample
from powerblend.api.generation import Run, requests_of
from powerblend.draft.guided import Guided
from powerblend.engine import scheduler
from powerblend.engine.batch import Batch
from powerblend.engine.chain import Proposal
from powerblend.engine.distributions import NO_TOKEN, Draw
from powerblend.engine.guesses import MAX_PLACES, MOST_GUESSED, Guessing, Rates, Written
from powerblend.samplers import parse_sampler
from table_model import TableModel

LONGEST = 12
PROMPTS = [[0, 2], [2, 2]]
CHAIN = {"sampler": "power", "alpha": 2.0, "max_new_tokens": LONGEST, "blocks": 2, "steps": 4}
BLEND = {"source": "layer", "layer": 0, "beta": 0.2}
DECODINGS: dict[str, dict[str, Any]] = {
    "greedy": {"sampler": "greedy", "max_new_tokens": LONGEST},
    "base": {"sampler": "temperature", "temperature": 1.0, "max_new_tokens": LONGEST},
    "power": CHAIN,
    "published": CHAIN | {"mh": "published"},
    "blend": CHAIN | {"blend": BLEND},
    "tries": CHAIN | {"tries": 2},
    "ladder": CHAIN | {"ladder": [1.5], "cut": "entropy"},
    "particles": {k: v for k, v in CHAIN.items() if k != "steps"}
    | {"sampler": "particles", "particles": 3, "sweeps": 2},
}
DRAFT = {"source": "draft", "beta": 0.4}


@pytest.fixture(scope="module")
def table() -> TableModel:
    """Which tokens are likely, and that few strings are short, makes some of them repeat others."""
    model = TableModel(seed=3, vocabulary=3, eos=1, longest=LONGEST, prompt_tokens=2)
    model.base[:, 1] -= 3.0
    return model


@pytest.fixture(scope="module")
def transformer() -> Model:
    hf = tiny.transformer(vocabulary=12)
    return load_model(hf, draft=tiny.draft(hf, block=4))


def answers(model: Any, name: str, samples: int = 3, **how: Any) -> list[list[Generation]]:
    return sample(model, PROMPTS, DECODINGS[name], samples=samples, seed=3, **how)


def passes(out: Sequence[Sequence[Generation]]) -> int:
    return sum(g.passes for row in out for g in row)


def decoded(out: Sequence[Sequence[Generation]]) -> int:
    return sum(g.decoded_tokens for row in out for g in row)


def without_logs_of_replicas(out: Sequence[Sequence[Generation]]) -> list[dict[str, Any]]:
    """Records, whose replicas' log-probabilities are rounded as sums of logarithms are."""
    found = records(out)
    for record in found:
        for replica in record.get("replicas", []):
            replica["log_p"] = pytest.approx(replica["log_p"], abs=1e-9)
            if "weight" in replica:
                replica["weight"] = pytest.approx(replica["weight"], abs=1e-9)
    return found


@pytest.mark.parametrize("name", DECODINGS)
def test_strings_and_counts_are_those_without(name: str, table: TableModel) -> None:
    """And there are fewer steps, which there are not where no guess is ever kept."""
    plain = answers(table, name, rows=64, speculate="off")
    expected = nearly(without_logs_of_replicas(plain))
    for rows in (1, 6):
        guessed = answers(table, name, rows=rows)
        assert records(guessed) == expected, rows
        assert passes(guessed) < (decoded(guessed) if rows == 1 else passes(plain)), rows


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3, 16, 64])
@pytest.mark.parametrize("name", DECODINGS)
def test_strings_and_counts_of_many_rows_are(name: str, rows: int, table: TableModel) -> None:
    plain = answers(table, name, 40, rows=rows, speculate="off")
    guessed = answers(table, name, 40, rows=rows)
    assert records(guessed) == nearly(without_logs_of_replicas(plain))
    assert passes(guessed) < passes(plain)


@pytest.mark.parametrize("blend", [None, BLEND, DRAFT], ids=["ps", "layer", "draft"])
def test_strings_of_a_transformer_are(blend: dict[str, Any] | None, transformer: Model) -> None:
    decoding = CHAIN | {"steps": 2} | ({"blend": blend} if blend else {})
    prompts = [[5, 6, 7, 8], [5, 6, 9]]
    plain = sample(transformer, prompts, decoding, samples=2, speculate="off")
    assert passes(plain) == decoded(plain)
    for rows in (1, 3):
        guessed = sample(transformer, prompts, decoding, samples=2, rows=rows)
        assert records(guessed) == nearly(records(plain)), rows
        assert passes(guessed) < 0.9 * passes(plain)


def credulous(self: Batch, draw: Draw, current: Tensor, plain: Any = Batch.advance) -> Tensor:
    """Take guesses for what was drawn."""
    if self._guesses is not None:
        guess = self._guesses.guess
        draw = draw._replace(token=torch.where(guess != NO_TOKEN, guess, draw.token))
    return plain(self, draw, current)


def careless(self: Batch, live: int, plain: Any = Batch.pending) -> Any:
    """Draw behind a guess as if the current string had not been left by it."""
    pending = plain(self, live)
    if self._guesses is None:
        return pending
    row, index = self._guesses.row, self._index[self._guesses.row] + self._guesses.offset
    following = self._following[row] > 0
    return pending._replace(current=torch.where(following, self._current[row, index], NO_TOKEN))


@pytest.mark.parametrize(("method", "wrong"), [("advance", credulous), ("pending", careless)])
def test_wrong_checks_are_rejected(
    method: str, wrong: Any, table: TableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = nearly(records(answers(table, "power", 8, rows=9, speculate="off")))
    monkeypatch.setattr(Batch, method, wrong)
    assert records(answers(table, "power", 8, rows=9)) != expected


@pytest.mark.parametrize("name", ["power", "ladder"])
def test_an_interruption_changes_nothing(name: str, table: TableModel) -> None:
    sampler = parse_sampler(DECODINGS[name])
    requests = requests_of(table, PROMPTS, sampler, 4)

    def run(speculate: Any, done: dict[Any, Generation], most: int) -> dict[Any, Generation]:
        left = [r for r in requests if (r.problem_id, r.sample) not in done]
        for finished in Run(table, left, sampler, 5, 3, speculate).steps():
            done = done | {(r.problem_id, r.sample): g for r, g in finished}
            if len(done) >= most:
                break
        return done

    whole = run("off", {}, len(requests))
    half = run("auto", {}, 2)
    assert 2 <= len(half) < len(requests)
    resumed = run("auto", half, len(requests))
    expected = nearly(without_logs_of_replicas([[whole[key] for key in sorted(whole)]]))
    assert records([[resumed[key] for key in sorted(whole)]]) == expected


def test_a_draft_opens_blocks_by_their_own_first_token(
    transformer: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step feeds to a row ends with a block, whose next is opened before the next step."""
    fed, guess = [], Batch.guess

    def watched(self: Batch, guessed: Sequence[Sequence[int]]) -> None:
        lengths = self._index[: len(guessed)].tolist()
        fed.extend((n, len(tokens)) for n, tokens in zip(lengths, guessed, strict=True))
        guess(self, guessed)

    monkeypatch.setattr(Batch, "guess", watched)
    sample(transformer, [[5, 6, 7, 8]], CHAIN | {"blend": DRAFT}, samples=3, rows=3)
    crossed = [(n, more) for n, more in fed if any((n + i) % 4 == 1 for i in range(1, more + 1))]
    assert crossed == []
    assert max(more for _, more in fed) == 3


@pytest.mark.parametrize("wrong", [0, 1])
def test_what_a_draft_says_of_a_block_is_guessed(
    wrong: int, transformer: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where strings say nothing: a draft that is right saves steps, a wrong one no string."""
    decoding = {"sampler": "greedy", "max_new_tokens": LONGEST, "blend": DRAFT}
    prompts = [[5, 6, 7, 8], [5, 6, 9]]
    plain = sample(transformer, prompts, decoding, speculate="off")
    answer = {tuple(prompts[row]): g.tokens for row, (g,) in enumerate(plain)}
    monkeypatch.setattr(Guessing, "guess", lambda *_: [])
    asked = []

    def known(self: Guided, cache: Any, rows: Sequence[int], firsts: Sequence[int]) -> Any:
        asked.extend(firsts)
        # One row at a time, whose prompt is the longer one first.
        prompt = tuple(prompts[len(done) > 0])
        ahead = [firsts[0] - len(prompt) + 1 + n for n in range(self.block_size - 1)]
        text = answer[prompt]
        return [[(text[n] if n < len(text) else 0) + wrong for n in ahead]]

    sampler = parse_sampler(decoding)
    monkeypatch.setattr(Guided, "drafted", known)
    done: list[Generation] = []
    for finished in Run(
        transformer, requests_of(transformer, prompts, sampler, 1), sampler, 0, 1
    ).steps():
        done.extend(generation for _, generation in finished)
    assert asked
    assert records([[g] for g in done]) == nearly(records(plain))
    total, steps = sum(g.decoded_tokens for g in done), sum(g.passes for g in done)
    # Of a block of four the first token is drawn behind the block before, the others with it.
    assert steps == total if wrong else steps <= total / 2 + 2


def test_more_rows_guess_less(table: TableModel) -> None:
    """A step of few rows waits for the weights; one of many for the products."""
    sampler = parse_sampler(DECODINGS["base"])
    shares = []
    for rows in (1, 8, 40):
        run = Run(table, requests_of(table, PROMPTS, sampler, 20), sampler, 5, rows)
        assert sum(map(len, run.steps())) == 2 * 20
        shares.append(run.tally.guessed / run.tally.decoded_tokens)
        assert 0 <= run.tally.guessed_right <= run.tally.guessed
        assert 0.2 < run.tally.occupancy <= 1
    assert shares[0] > shares[1] > shares[2]


def test_a_step_guesses_so_many_tokens_at_most(
    table: TableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its logits, for which rows leave no room."""
    numbers, guess = [], Batch.guess

    def watched(self: Batch, guessed: Sequence[Sequence[int]]) -> None:
        numbers.append(sum(map(len, guessed)))
        guess(self, guessed)

    monkeypatch.setattr(Batch, "guess", watched)
    monkeypatch.setitem(scheduler.MOST_GUESSED_IN_STEP, "cpu", 3)
    answers(table, "power", rows=6)
    assert max(numbers) == 3


def test_a_model_may_want_one_token_a_row(
    table: TableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "block_size", 1)
    out = answers(table, "power", rows=1)
    assert passes(out) == decoded(out)


def test_an_unknown_setting_is_refused(table: TableModel) -> None:
    with pytest.raises(ValueError, match="speculate is 'on'; use 'auto' or 'off'"):
        answers(table, "greedy", speculate="on")


def proposal(current: Sequence[int] = (), cap: int = 20) -> Proposal:
    whole = np.array(current, np.int64)
    return Proposal(0, cap, np.zeros(cap), whole, np.empty(0, np.int64))


def test_the_longest_match_is_what_is_guessed() -> None:
    prompt = np.array([1, 2, 3, 4, 7, 2, 3, 5, 8, 3, 6, 9, 1, 2, 3])
    text = Guessing(Written(prompt), prompt, proposal())
    assert text.guess(Rates(), 0.0, MOST_GUESSED) == [4, 7, 2, 3, 5, 8, 3, 6]
    # A move has left the current string at its first token.
    moved = Guessing(Written(prompt), prompt, proposal([4]))
    assert moved.guess(Rates(), 0.0, 2) == [5, 8]
    near_the_cap = Guessing(Written(prompt), prompt, proposal(cap=3))
    assert near_the_cap.guess(Rates(), 0.0, MOST_GUESSED) == [4, 7]


def test_wrong_guesses_make_the_next_ones_rare() -> None:
    prompt = np.array([1, 2] * 10)
    rates = Rates()
    text = Guessing(Written(prompt), prompt, proposal())
    assert text.guess(rates, 0.5, MOST_GUESSED)
    for _ in range(50):
        assert Guessing(Written(prompt), prompt, proposal()).guess(rates, 0.0, 1) == [1]
        wrong = Guessing(Written(prompt), prompt, proposal())
        wrong.guess(rates, 0.0, 1)
        assert wrong.drawn(1, 9, rates) == 0
    assert text.guess(rates, 0.5, MOST_GUESSED) == []


def test_what_a_sibling_wrote_is_guessed() -> None:
    prompt = np.array([1, 2, 3])
    written, rates = Written(prompt), Rates()
    first, second = (Guessing(written, prompt, proposal()) for _ in range(2))
    for token in (8, 9, 8):
        assert first.guess(rates, 1.0, MOST_GUESSED) == []
        first.drawn(1, token, rates)
    assert second.guess(rates, 0.0, MOST_GUESSED) == [8, 9, 8]
    assert second.drawn(3, 7, rates) == 2


def test_no_more_is_kept_of_texts_than_is_looked_at() -> None:
    written = Written(np.array([1, 2]))
    for _ in range(500):
        written.extend([1], [2, 3, 2])
    assert all(len(places) < 2 * MAX_PLACES for places in written._places.values())
    assert written.after([9, 2], None) == (1, [3, 2])
