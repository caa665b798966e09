"""From a problem to a chat or a plain text, and on to token ids. Knows no engine."""

from typing import Any

import yaml

from powerblend.api.prompts import chat_token_ids, plain_token_ids
from powerblend.infrastructure.files import found
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.specs import Prompt, PromptSpec, Shot

Messages = list[dict[str, str]]


def read_prompt(prompt: PromptSpec) -> Prompt:
    """A configuration's prompt with its worked examples.

    Raises
    ------
    ConfigError
        If the file of ``prompt.shots`` is missing or holds something else.
    """
    read: dict[str, object] = {"shots": _read_shots(prompt.shots)}
    if prompt.style == "plain":
        # A study is merged over one that may have options, and cannot take them out.
        read["chat_template"] = {}
    return Prompt.model_validate(dict(prompt) | read)


def _read_shots(path: str | None) -> list[Shot]:
    if path is None:
        return []
    try:
        shots = yaml.safe_load(found(path).read_text(encoding="utf-8"))
        return [Shot(**{key: str(shot[key]) for key in ("problem", "solution")}) for shot in shots]
    except FileNotFoundError:
        raise ConfigError(f"prompt.shots: there is no file {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise ConfigError(
            f"prompt.shots: {path} must be a YAML list of mappings with the keys problem "
            f"and solution ({type(error).__name__}: {error})"
        ) from None


def plain_text(problem: str, prompt: Prompt) -> str:
    """The text that an answer goes on from: worked examples, an empty line between any two."""

    def asked(text: str) -> str:
        return prompt.template.replace("{problem}", text)

    solved = [_joined(asked(shot.problem), shot.solution) for shot in prompt.shots]
    before = [prompt.system] if prompt.system else []
    return "\n\n".join([*before, *solved, asked(problem)])


def _joined(asked: str, solution: str) -> str:
    """A worked example, with a space between its parts unless the first ends in one."""
    return asked + solution if asked[-1:].isspace() else f"{asked} {solution}"


def chat(problem: str, prompt: Prompt) -> Messages:
    """The messages that ask for an answer."""

    def user(text: str) -> dict[str, str]:
        return {"role": "user", "content": prompt.template.replace("{problem}", text)}

    messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
    for shot in prompt.shots:
        messages += [user(shot.problem), {"role": "assistant", "content": shot.solution}]
    return [*messages, user(problem)]


def tokenise(tokenizer: Any, problem: str, prompt: Prompt) -> list[int]:
    """Token ids of what asks for an answer: a plain text, or a chat at the assistant's turn.

    transformers runs the chat template in Jinja's sandbox.

    Raises
    ------
    ConfigError
        If the template fails, or tries what the sandbox forbids.
    """
    # Whoever only plans a study waits for no template engine.
    from jinja2 import TemplateError

    if prompt.style == "plain":
        return plain_token_ids(tokenizer, plain_text(problem, prompt))
    own = {"chat_template": prompt.chat_template_jinja} if prompt.chat_template_jinja else {}
    try:
        return chat_token_ids(tokenizer, chat(problem, prompt), prompt.chat_template | own)
    except TemplateError as error:
        whose = "prompt.chat_template_jinja: the" if own else "model.name: the model's"
        raise ConfigError(f"{whose} chat template fails: {error}") from error
