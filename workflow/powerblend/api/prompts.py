"""Prompts as callers give them, checked and made token ids.

Knows no chains and no sampler. Errors name the prompt by its place: ``prompts[2]``.
"""

import operator
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any


def token_ids(model: Any, prompts: Sequence[Any], new: int) -> list[list[int]]:
    """Every prompt's token ids; chats go through the tokenizer's template.

    Raises
    ------
    ValueError
        If a prompt is neither token ids of the model's nor a chat, is empty, or leaves no
        positions for ``new`` tokens.
    """
    given = [prompts] if isinstance(prompts, str | Mapping) else prompts
    positions = getattr(model, "positions", None)
    made = []
    for index, prompt in enumerate(given):
        name = f"prompts[{index}]"
        tokens = _tokens(model, prompt, name)
        if positions is not None and len(tokens) + new > positions:
            raise ValueError(
                f"{name}: it and its answer take {len(tokens) + new} tokens, but the model has "
                f"positions for {positions}; shorten the prompt, or lower max_new_tokens"
            )
        made.append(tokens)
    return made


def _tokens(model: Any, prompt: Any, name: str) -> list[int]:
    if isinstance(prompt, str):
        raise ValueError(
            f"{name} is the string {prompt!r:.40}; give a chat, as "
            "[{'role': 'user', 'content': 'What is 2 + 2?'}], or a list of token ids"
        )
    if isinstance(prompt, Mapping | Integral):
        what = "a message" if isinstance(prompt, Mapping) else "a token id"
        raise ValueError(
            f"{name} is {what}, not a prompt; where there is but one prompt, prompts is [prompt]"
        )
    try:
        parts = list(prompt)
        is_chat = bool(parts) and isinstance(parts[0], Mapping)
        tokens = [] if is_chat else [operator.index(part) for part in parts]
    except TypeError as error:
        raise ValueError(f"{name}: {error}; give token ids or chat messages") from None
    if is_chat:
        return _chat(model, parts, name)
    if not tokens:
        raise ValueError(f"{name} has no tokens: it needs at least one")
    known = getattr(model, "vocabulary", 1 + max(tokens))
    if not 0 <= min(tokens) <= max(tokens) < known:
        unknown = next(token for token in tokens if not 0 <= token < known)
        raise ValueError(f"{name} has the token id {unknown}; use 0 to {known - 1}")
    return tokens


def _chat(model: Any, messages: list[Any], name: str) -> list[int]:
    if model.tokenizer is None:
        raise ValueError(f"{name} has messages, which need a tokenizer: load the model with one")
    for place, message in enumerate(messages):
        if not _is_message(message):
            raise ValueError(
                f"{name}[{place}] is {message!r:.60}; a message is "
                "{'role': 'user', 'content': 'What is 2 + 2?'}"
            )
    encoded = model.tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=True
    )
    return list(encoded["input_ids"])


def _is_message(message: Any) -> bool:
    """Whether it has a role and a content, which some templates take in parts."""
    return (
        isinstance(message, Mapping)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str | list)
    )
