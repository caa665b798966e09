"""From a problem to a chat, and from a chat to token ids. Knows chat templates and no engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import TemplateError

from powerblend.study.schema import ConfigError, PromptSpec

Messages = list[dict[str, str]]


def read_shots(prompt: PromptSpec) -> list[dict[str, str]]:
    """The worked examples of ``prompt.shots``: mappings with ``problem`` and ``solution``.

    Raises
    ------
    ConfigError
        If the file is missing or holds something else.
    """
    if prompt.shots is None:
        return []
    try:
        shots = yaml.safe_load(Path(prompt.shots).read_text(encoding="utf-8"))
        return [{key: str(shot[key]) for key in ("problem", "solution")} for shot in shots]
    except FileNotFoundError:
        raise ConfigError(f"prompt.shots: there is no file {prompt.shots}") from None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise ConfigError(
            f"prompt.shots: {prompt.shots} must be a YAML list of mappings with the keys problem "
            f"and solution ({type(error).__name__}: {error})"
        ) from None


def chat(problem: str, prompt: dict[str, Any]) -> Messages:
    """The messages that ask for an answer; ``prompt`` is a cell's, with its shots read."""

    def user(text: str) -> dict[str, str]:
        return {"role": "user", "content": prompt["template"].replace("{problem}", text)}

    messages = [{"role": "system", "content": prompt["system"]}] if prompt["system"] else []
    for shot in prompt["shots"]:
        messages += [user(shot["problem"]), {"role": "assistant", "content": shot["solution"]}]
    return [*messages, user(problem)]


def tokenise(
    tokenizer: Any, messages: Sequence[dict[str, str]], options: dict[str, Any]
) -> list[int]:
    """Token ids of a chat, ready for the assistant's turn.

    transformers runs the model's chat template in Jinja's sandbox.

    Raises
    ------
    ConfigError
        If the template fails, or tries what the sandbox forbids.
    """
    try:
        encoded = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_dict=True, **options
        )
    except TemplateError as error:
        raise ConfigError(f"model.name: the model's chat template fails: {error}") from error
    return list(encoded["input_ids"])
