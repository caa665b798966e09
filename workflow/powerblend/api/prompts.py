"""Prompts as callers give them, checked and made token ids.

Knows no chains and no sampler. Errors name the prompt by its place: ``prompts[2]``.
"""

import operator
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

ChatTemplate = Mapping[str, Any]
"""Options of a chat template, and under ``chat_template`` perhaps the template itself."""


def token_ids(
    model: Any, prompts: Sequence[Any], new: int, chat_template: ChatTemplate | None = None
) -> list[list[int]]:
    """Every prompt's token ids; chats go through the tokenizer's template, with these options.

    Raises
    ------
    ValueError
        If a prompt is neither a text, a chat nor token ids of the model's, is empty, or leaves no
        positions for ``new`` tokens.
    """
    given = [prompts] if isinstance(prompts, str | Mapping) else prompts
    positions = getattr(model, "positions", None)
    made = []
    for index, prompt in enumerate(given):
        name = f"prompts[{index}]"
        tokens = _tokens(model, prompt, name, chat_template or {})
        if positions is not None and len(tokens) + new > positions:
            raise ValueError(
                f"{name}: it and its answer take {len(tokens) + new} tokens, but the model has "
                f"positions for {positions}; shorten the prompt, or lower max_new_tokens"
            )
        made.append(tokens)
    return made


def plain_token_ids(tokenizer: Any, text: str) -> list[int]:
    """A text that an answer goes on from, behind the special tokens that begin a text.

    What the tokenizer puts behind a text, as some do with EOS, is left out, and a BOS that the text
    has already is not put before it.
    """
    whole = list(tokenizer(text)["input_ids"])
    bare = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    before = next((n for n in range(len(whole)) if whole[n : n + len(bare)] == bare), None)
    tokens = whole if before is None else whole[: before + len(bare)]
    if not bare:
        tokens = [token for token in whole[:1] if token == tokenizer.bos_token_id]
    twice = len(tokens) > 1 and tokens[0] == tokens[1] == tokenizer.bos_token_id
    return tokens[1:] if twice else tokens


def chat_token_ids(tokenizer: Any, messages: Sequence[Any], options: ChatTemplate) -> list[int]:
    """A chat in the tokenizer's chat template, ready for the assistant's turn."""
    encoded = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=True, **options
    )
    return list(encoded["input_ids"])


def _tokens(model: Any, prompt: Any, name: str, options: ChatTemplate) -> list[int]:
    if isinstance(prompt, str):
        return _plain(model, prompt, name)
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
        return _chat(model, parts, name, options)
    if not tokens:
        raise ValueError(f"{name} has no tokens: it needs at least one")
    known = getattr(model, "vocabulary", 1 + max(tokens))
    if not 0 <= min(tokens) <= max(tokens) < known:
        unknown = next(token for token in tokens if not 0 <= token < known)
        raise ValueError(f"{name} has the token id {unknown}; use 0 to {known - 1}")
    return tokens


def _plain(model: Any, text: str, name: str) -> list[int]:
    if model.tokenizer is None:
        raise ValueError(f"{name} is a text, which needs a tokenizer: load the model with one")
    tokens = plain_token_ids(model.tokenizer, text)
    if not tokens:
        raise ValueError(f"{name} has no tokens: it needs at least one")
    return tokens


def _chat(model: Any, messages: list[Any], name: str, options: ChatTemplate) -> list[int]:
    if model.tokenizer is None:
        raise ValueError(f"{name} has messages, which need a tokenizer: load the model with one")
    for place, message in enumerate(messages):
        if not _is_message(message):
            raise ValueError(
                f"{name}[{place}] is {message!r:.60}; a message is "
                "{'role': 'user', 'content': 'What is 2 + 2?'}"
            )
    if not (model.tokenizer.chat_template or "chat_template" in options):
        raise ValueError(
            f"{name} has messages, but the tokenizer has no chat template: give a text, or the "
            "template itself, chat_template={'chat_template': '...'}"
        )
    return chat_token_ids(model.tokenizer, messages, options)


def _is_message(message: Any) -> bool:
    """Whether it has a role and a content, which some templates take in parts."""
    return (
        isinstance(message, Mapping)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str | list)
    )
