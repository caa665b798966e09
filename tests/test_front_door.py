"""`sample` and `load_model`: what they cannot do is refused in a sentence with the way out."""

import re
from typing import Any

import pytest
import torch

import tiny
from powerblend import Model, load_model, sample
from powerblend.api.token_texts import decoded

GREEDY = {"sampler": "greedy", "max_new_tokens": 4}
WARM = {"sampler": "temperature", "max_new_tokens": 4}
POWER = {"sampler": "power", "alpha": 2.0, "max_new_tokens": 4, "blocks": 2}
MESSAGE = {"role": "user", "content": "Hi"}


@pytest.fixture(scope="module")
def model() -> Model:
    words = tiny.tokenizer()
    return load_model(tiny.transformer(vocabulary=len(words)), tokenizer=words)


@pytest.mark.parametrize(
    ("prompts", "sentence"),
    [
        (
            [MESSAGE],
            "prompts[0] is a message, not a prompt; where there is but one prompt, prompts",
        ),
        (MESSAGE, "prompts[0] is a message, not a prompt"),
        ([5, 6], "prompts[0] is a token id, not a prompt; where there is but one prompt, prompts"),
        (["Hi", ""], "prompts[1] has no tokens: it needs at least one"),
        ([[5], ["a"]], "prompts[1]: 'str' object cannot be interpreted as an integer; give token"),
        ([[5], [5.5]], "prompts[1]: 'float' object cannot be interpreted as an integer; give"),
        ([None], "prompts[0]: 'NoneType' object is not iterable; give token ids or chat messages"),
        (
            [[MESSAGE], [{"role": "user"}]],
            "prompts[1][0] is {'role': 'user'}; a message is {'role'",
        ),
        ([[MESSAGE, 5]], "prompts[0][1] is 5; a message is"),
        ([[MESSAGE | {"content": None}]], "prompts[0][0] is {'role': 'user', 'content': None}; a"),
        ([[5], []], "prompts[1] has no tokens: it needs at least one"),
        ([[5], [6, 98]], "prompts[1] has the token id 98; use 0 to 97"),
        ([[-1]], "prompts[0] has the token id -1; use 0 to 97"),
        ([[5], [6] * 253], "prompts[1]: it and its answer take 257 tokens, but the model has pos"),
    ],
)
def test_a_prompt_that_is_none_is_named(model: Model, prompts: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        sample(model, prompts, GREEDY)


def test_a_model_of_bare_token_ids_reads_no_chat() -> None:
    with pytest.raises(ValueError, match=r"prompts\[0\] has messages, which need a tokenizer"):
        sample(load_model(tiny.transformer()), [[MESSAGE]], GREEDY)
    with pytest.raises(ValueError, match=r"prompts\[0\] is a text, which needs a tokenizer"):
        sample(load_model(tiny.transformer()), ["Hi"], GREEDY)


def test_a_tokenizer_without_a_chat_template_reads_texts_alone() -> None:
    words = tiny.tokenizer()
    words.chat_template = None
    bare = load_model(tiny.transformer(vocabulary=len(words)), tokenizer=words)
    assert sample(bare, "Hi", GREEDY)[0][0].n_tokens
    with pytest.raises(ValueError, match=r"prompts\[0\] has messages, but the tokenizer has no"):
        sample(bare, [[MESSAGE]], GREEDY)


def test_arrays_are_prompts_and_the_last_position_is_used(model: Model) -> None:
    tokens = torch.full((252,), 6)
    answers = [sample(model, [given], GREEDY) for given in (tokens, tokens.numpy())]
    (expected,) = sample(model, [tokens.tolist()], GREEDY)[0]
    assert [row[0][0].tokens for row in answers] == [expected.tokens] * 2


@pytest.mark.parametrize(
    ("decoding", "sentence"),
    [
        (None, "decoding is None; give a mapping, as {'sampler': 'power'"),
        ("greedy", "decoding is 'greedy'; give a mapping, as {'sampler': 'power'"),
        ({"sampler": ["power"]}, "sampler is ['power']; use one of greedy, temperature, power"),
        (GREEDY | {"blend": "layer"}, "decoding.blend: give a mapping, as {'source': 'layer', "),
        (
            GREEDY | {"blend": {"source": "dark", "beta": 1}},
            "decoding.blend.source: there is no 'dark'; use one of 'layer', 'draft'",
        ),
        (POWER | {"alhpa": 3}, "decoding.alhpa: unknown key (its value is 3)"),
        (POWER | {"alpha": 0}, "decoding.alpha: Input should be greater than or equal to 1 (it"),
        (WARM, "decoding: temperature is missing; give it, or alpha, which is 1 / T"),
    ],
)
def test_a_decoding_that_is_none_is_named(model: Model, decoding: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        sample(model, [[5]], decoding)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"samples": 0}, "samples is 0; use a whole number, at least 1"),
        ({"samples": -1}, "samples is -1; use a whole number, at least 1"),
        ({"seed": "a"}, "seed is 'a'; use a whole number"),
        ({"rows": 1.5}, "rows is 1.5; use a whole number, at least 1, or None to choose by free"),
        ({"rows": "auto"}, "rows is 'auto'; use a whole number, at least 1, or None"),
        ({"rows": 0}, "rows is 0; use a whole number, at least 1, or None"),
    ],
)
def test_a_number_that_is_none_is_named(
    model: Model, arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        sample(model, [[5]], GREEDY, **arguments)


def test_tokens_of_a_padded_vocabulary_are_shown_and_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tokenizer = tiny.tokenizer()
    known = tokenizer.encode("12")
    assert decoded(tokenizer, known) == "12"
    assert not caplog.records
    padded = [known[0], len(tokenizer), len(tokenizer) + 3, known[1]]
    assert decoded(tokenizer, padded) == "1<token 98><token 101>2"
    decoded(tokenizer, padded)
    (record,) = caplog.records
    assert "its tokenizer of 98 does not know" in record.getMessage()


def test_answers_show_tokens_without_text() -> None:
    model = Model(tiny.transformer(vocabulary=200), tiny.tokenizer(), [1])
    decoding = {"sampler": "temperature", "temperature": 3.0, "max_new_tokens": 12}
    ((answer,),) = sample(model, [[5, 6]], decoding)
    (shown,) = {f"<token {t}>" in str(answer.text) for t in answer.tokens if t >= 98}
    assert shown
