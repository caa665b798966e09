"""From a problem to a chat, and from a chat to token ids. Knows chat templates and no engine."""

from typing import Any

import yaml

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
    return Prompt(
        system=prompt.system,
        template=prompt.template,
        shots=_read_shots(prompt.shots),
        chat_template=prompt.chat_template,
    )


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


def chat(problem: str, prompt: Prompt) -> Messages:
    """The messages that ask for an answer."""

    def user(text: str) -> dict[str, str]:
        return {"role": "user", "content": prompt.template.replace("{problem}", text)}

    messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
    for shot in prompt.shots:
        messages += [user(shot.problem), {"role": "assistant", "content": shot.solution}]
    return [*messages, user(problem)]


def tokenise(tokenizer: Any, problem: str, prompt: Prompt) -> list[int]:
    """Token ids of the chat that asks for an answer, ready for the assistant's turn.

    transformers runs the model's chat template in Jinja's sandbox.

    Raises
    ------
    ConfigError
        If the template fails, or tries what the sandbox forbids.
    """
    # Whoever only plans a study waits for no template engine.
    from jinja2 import TemplateError

    try:
        encoded = tokenizer.apply_chat_template(
            chat(problem, prompt),
            add_generation_prompt=True,
            return_dict=True,
            **prompt.chat_template,
        )
    except TemplateError as error:
        raise ConfigError(f"model.name: the model's chat template fails: {error}") from error
    return list(encoded["input_ids"])
