"""Strings whose states are known are not computed again, and nothing else changes."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
import torch

import architectures
import tiny
from equality import nearly, records
from powerblend import Generation, Model, load_model, sample
from powerblend.draft import training
from powerblend.draft.training import WrittenAnswer
from powerblend.engine.prefix_tree import PrefixTree

LONGEST = 8
PROMPTS = [[2, 0, 3, 4, 5], [2, 0, 3, 4, 6, 7], [2, 0, 9]]
CHAIN = {"sampler": "power", "alpha": 2.0, "max_new_tokens": LONGEST, "blocks": 2, "steps": 2}
BLEND = {"source": "layer", "layer": 0, "beta": 0.2}
DECODINGS: dict[str, dict[str, Any]] = {
    "greedy": {"sampler": "greedy", "max_new_tokens": LONGEST},
    "base": {"sampler": "temperature", "temperature": 1.0, "max_new_tokens": LONGEST},
    "power": CHAIN,
    "published": CHAIN | {"mh": "published"},
    "layer": CHAIN | {"blend": BLEND},
    "random": CHAIN | {"blend": {"source": "random", "beta": 0.2, "seed": 1}},
    "draft": CHAIN | {"blend": {"source": "draft", "beta": 0.4}},
    "tries": CHAIN | {"tries": 2},
    "ladder": CHAIN | {"ladder": [1.5], "cut": "entropy"},
    "particles": {k: v for k, v in CHAIN.items() if k != "steps"}
    | {"sampler": "particles", "particles": 3, "sweeps": 2},
}
ROOMY = 10**7
"""Bytes: more than all strings of a test."""
READ = [-1, *range(tiny.LAYERS)]
"""Layers, of all blends and of the draft."""


@pytest.fixture(scope="module")
def plain() -> Model:
    hf = tiny.transformer(vocabulary=12)
    return load_model(hf, draft=tiny.draft(hf, block=4))


@pytest.fixture
def remembering(plain: Model) -> Iterator[Model]:
    """The same model, which keeps what it computes."""
    plain.remember(ROOMY, READ)
    yield plain
    plain.remember(0)


@pytest.fixture(scope="module")
def expected(plain: Model) -> dict[str, list[dict[str, Any]]]:
    return {name: nearly(records(answers(plain, name))) for name in DECODINGS}


def answers(model: Model, name: str, rows: int = 3, **how: Any) -> list[list[Generation]]:
    return sample(model, PROMPTS, DECODINGS[name], samples=2, seed=3, rows=rows, **how)


@pytest.mark.parametrize(
    ("name", "rows"), [*((n, 5) for n in DECODINGS), ("power", 1), ("draft", 1)]
)
def test_answers_are_those_of_a_model_that_forgets(
    name: str, rows: int, expected: Any, remembering: Model
) -> None:
    """And the second time nothing is left to be computed."""
    before = remembering.tokens_computed
    assert records(answers(remembering, name, rows)) == expected[name]
    once = remembering.tokens_computed
    assert once > before
    assert records(answers(remembering, name, rows)) == expected[name]
    assert remembering.tokens_computed == once


@pytest.mark.parametrize(
    ("name", "size"), [("power", 0.05), ("power", 0.2), ("draft", 0.2), ("particles", 0.2)]
)
def test_what_is_forgotten_is_computed_again(
    name: str, size: float, expected: Any, remembering: Model
) -> None:
    """Whenever there is no more room: rows under way go on from strings that are forgotten."""
    answers(remembering, name)
    tree = remembering._known
    assert tree is not None
    room = int(size * len(tree._places) * tree.size / tree._most)
    remembering.remember(room, READ)
    counts = []
    for _ in range(2):
        before = remembering.tokens_computed
        assert records(answers(remembering, name)) == expected[name]
        counts.append(remembering.tokens_computed - before)
    assert min(counts) > 0


def test_conditions_share_what_they_write(expected: Any, remembering: Model) -> None:
    """A blend changes what is drawn of a string, not what the model makes of it."""
    remembering.remember(ROOMY, [0])
    seen = []
    for name in ("power", "layer", "greedy"):
        before = remembering.tokens_computed
        assert records(answers(remembering, name)) == expected[name]
        seen.append(remembering.tokens_computed - before)
    prompts = sum(map(len, PROMPTS))
    assert seen[0] > prompts > 0
    assert max(seen[1:]) < seen[0] / 2


def test_a_pass_computes_what_no_row_has_read(remembering: Model) -> None:
    """Prompts that begin alike, siblings, and moves that repeat their chain."""
    before = remembering.tokens_computed
    out = answers(remembering, "power", rows=8)
    tree = remembering._known
    assert tree is not None
    once, prompts = len(tree._places), 2 * sum(map(len, PROMPTS))
    assert once < prompts + sum(g.decoded_tokens for row in out for g in row)
    # Rows that read the same new string in one pass are not told from each other.
    assert once <= remembering.tokens_computed - before < 1.5 * once


@pytest.mark.parametrize("case", ["windows", "capped scores", "unequal widths"])
def test_other_attention_sees_what_is_known(case: str) -> None:
    """Where rows are fed several tokens, of which the first are known, or all, or none."""
    family, settings, dtype = architectures.ATTENTIONS[case]
    model = load_model(tiny.transformer(family, 3, 12, dtype, **settings))
    expected = answers(model, "power")
    model.remember(ROOMY)
    for rows in (5, 2):
        found = answers(model, "power", rows)
        if dtype == torch.float64:
            assert records(found) == nearly(records(expected))
        for one, other in zip(chain(*found), chain(*expected), strict=True):
            assert one.tokens == other.tokens
            assert one.log_t == pytest.approx(other.log_t, abs=1e-4)


def test_a_wrong_string_is_noticed(
    expected: Any, remembering: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin of the tree that goes by the last token alone."""
    child = PrefixTree._child
    monkeypatch.setattr(PrefixTree, "_child", lambda self, node, token: child(self, 0, token))
    assert records(answers(remembering, "power")) != expected["power"]


def test_new_weights_are_read_anew(remembering: Model) -> None:
    hf = tiny.transformer(vocabulary=12)
    model = load_model(hf)
    model.remember(ROOMY)
    answers(model, "greedy")
    with torch.no_grad():
        hf.lm_head.weight.neg_()
        hf.model.layers[0].mlp.up_proj.weight.neg_()
    model.refresh()
    fresh = answers(load_model(hf), "greedy")
    assert records(answers(model, "greedy")) == nearly(records(fresh))


def test_features_of_answers_that_were_written_are_known(remembering: Model) -> None:
    """Whoever trains a draft on them runs no pass for them."""
    layers = [0, 2]
    written = [
        WrittenAnswer(prompt, row[0].tokens)
        for prompt, row in zip(PROMPTS, answers(remembering, "base"), strict=True)
    ]
    remembering.remember(0)
    expected = training.featurise(remembering, layers, written)
    remembering.remember(ROOMY, layers)
    answers(remembering, "base")
    before = remembering.tokens_computed
    found = training.featurise(remembering, layers, written)
    assert remembering.tokens_computed == before
    torch.testing.assert_close(found.shared, expected.shared)
    for part in ("features", "finals"):
        for one, other in zip(getattr(found, part), getattr(expected, part), strict=True):
            torch.testing.assert_close(one, other)
