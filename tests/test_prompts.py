"""Prompts as plain text: what the tokenizer begins a text with, once; and options of templates."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

import tiny
from powerblend import Model, load_model, sample
from powerblend.api.prompts import plain_token_ids
from powerblend.study.prompts import plain_text, read_prompt, tokenise
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.specs import Prompt, PromptSpec
from specs import PROMPT

GREEDY = {"sampler": "greedy", "max_new_tokens": 4}
CHAT = [{"role": "user", "content": "Hi"}]
THINKING = "{% for m in messages %}{{ m['content'] }}{% endfor %}{{ '!' if thinking else '.' }}"


def with_ends(first: str, last: str = "") -> PreTrainedTokenizerFast:
    """A tokenizer that puts special tokens around a text."""
    words = tiny.tokenizer()
    words.bos_token = "<|start|>"
    ends = [(token, words.convert_tokens_to_ids(token)) for token in (first, last) if token]
    around = " ".join(part for part in (first, "$A", last) if part)
    words.backend_tokenizer.post_processor = TemplateProcessing(around, special_tokens=ends)
    return words


@pytest.mark.parametrize("last", ["", "<|end|>"])
@pytest.mark.parametrize("text", ["Hi", "<|start|>Hi", ""])
def test_a_text_begins_with_bos_once_and_ends_with_itself(text: str, last: str) -> None:
    words = with_ends("<|start|>", last)
    said = words.decode(plain_token_ids(words, text))
    assert said == "<|start|>" + text.removeprefix("<|start|>")


def test_a_tokenizer_without_bos_gets_none() -> None:
    words = tiny.tokenizer()
    assert words.decode(plain_token_ids(words, "Hi")) == "Hi"


@pytest.mark.parametrize("end", ["\n\nSolution:", "\n\nSolution:\n"])
def test_worked_examples_are_paragraphs_of_the_same_text(end: str, tmp_path: Path) -> None:
    shots = tmp_path / "shots.yaml"
    shots.write_text("- {problem: '1 + 1', solution: '2'}\n")
    template = "Problem:\n{problem}" + end
    spec = PromptSpec(style="plain", template=template, system="Sums.", shots=str(shots))
    prompt = read_prompt(spec)
    space = "" if end.endswith("\n") else " "
    expected = f"Sums.\n\nProblem:\n1 + 1{end}{space}2\n\nProblem:\n{{problem}}{end}"
    # The problem's own braces are its own.
    assert plain_text("{problem} 3", prompt) == expected.replace("{problem}", "{problem} 3")
    words = with_ends("<|start|>")
    assert words.decode(tokenise(words, "3", prompt)) == "<|start|>" + plain_text("3", prompt)


def test_a_chat_has_the_json_that_it_had() -> None:
    assert Prompt(template="{problem}").model_dump(mode="json") == PROMPT
    plain = Prompt(template="{problem}", style="plain").model_dump(mode="json")
    assert plain == PROMPT | {"style": "plain"}


def test_a_template_may_come_from_the_configuration() -> None:
    words = tiny.tokenizer()
    words.chat_template = None
    options: dict[str, Any] = {"thinking": True}
    prompt = Prompt(template="{problem}", chat_template=options, chat_template_jinja=THINKING)
    assert words.decode(tokenise(words, "Hi", prompt)) == "Hi!"
    broken = Prompt(template="{problem}", chat_template_jinja="{{ nothing.here }}")
    with pytest.raises(ConfigError, match=r"prompt\.chat_template_jinja: the chat template fails"):
        tokenise(words, "Hi", broken)
    with pytest.raises(ValueError, match="style is plain, which reads no chat_template_jinja"):
        PromptSpec(style="plain", chat_template_jinja=THINKING)
    assert read_prompt(PromptSpec(style="plain", chat_template=options)).chat_template == {}


@pytest.fixture(scope="module")
def model() -> Model:
    words = with_ends("<|start|>")
    return load_model(tiny.transformer(vocabulary=len(words)), tokenizer=words)


def test_a_text_is_a_prompt(model: Model) -> None:
    tokens = model.tokenizer("Hi")["input_ids"]
    expected = sample(model, [tokens], GREEDY)
    assert tokens[0] == model.tokenizer.bos_token_id
    for given in ("Hi", ["Hi"]):
        (row,) = sample(model, given, GREEDY)
        assert (row[0].tokens, row[0].prompt_tokens) == (expected[0][0].tokens, len(tokens))


def test_options_reach_the_chat_template(model: Model) -> None:
    given = {"chat_template": THINKING}
    short, long = (
        sample(model, [CHAT], GREEDY, chat_template=given | {"thinking": thinking})[0][0]
        for thinking in (False, True)
    )
    assert short.prompt_tokens == long.prompt_tokens == len("Hi.")
    assert sample(model, [CHAT], GREEDY)[0][0].prompt_tokens > len("Hi.")
    assert short.tokens != long.tokens
