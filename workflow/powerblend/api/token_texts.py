"""What each token adds to a text, in bytes, whatever the tokenizer.

Knows no model and no sampler.
"""

import json
import logging
import re
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

log = logging.getLogger(__name__)

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""How vocabularies with a token for each byte write them."""


def token_texts(tokenizer: Any, vocabulary: int) -> list[bytes]:
    """The text of each token below ``vocabulary``; none of a special one, which texts leave out.

    A text of several tokens is theirs one after the other, though a tokenizer may leave out the
    space that it begins with. Tokens that are but a part of a character have their own bytes.
    """
    known = min(vocabulary, len(tokenizer))
    words: list[str] = tokenizer.convert_ids_to_tokens(list(range(known)))
    added = tokenizer.added_tokens_decoder
    kinds = _decoder_kinds(tokenizer)
    if "ByteLevel" in kinds:
        texts = [_of_byte_level(word) for word in words]
    else:
        texts = _decoded(tokenizer, known)
        if "ByteFallback" in kinds:
            texts = [_byte(word, text) for word, text in zip(words, texts, strict=True)]
    for token, entry in added.items():
        if token < known:
            texts[token] = b"" if entry.special else entry.content.encode()
    return texts + [b""] * (vocabulary - known)


def _decoder_kinds(tokenizer: Any) -> set[str]:
    """The names of the steps by which a tokenizer makes text of tokens."""
    if not tokenizer.is_fast:
        return set()
    decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"] or {}
    return {decoder.get("type"), *(step["type"] for step in decoder.get("decoders", []))}


_BYTES = {character: byte for byte, character in bytes_to_unicode().items()}


def _of_byte_level(word: str) -> bytes:
    if all(character in _BYTES for character in word):
        return bytes(_BYTES[character] for character in word)
    return word.encode()


def _byte(word: str, text: bytes) -> bytes:
    match = BYTE.fullmatch(word)
    return bytes([int(match[1], 16)]) if match else text


def _decoded(tokenizer: Any, known: int) -> list[bytes]:
    """What each token adds behind another one, so that its space is not the text's first."""
    anchor = next((t for t in range(known) if tokenizer.decode([t]).strip().isalnum()), 0)
    before = tokenizer.decode([anchor])
    return [
        tokenizer.decode([anchor, token], clean_up_tokenization_spaces=False)
        .removeprefix(before)
        .encode()
        for token in range(known)
    ]


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of an answer's tokens; one that the tokenizer does not know is shown by its number.

    A vocabulary is often padded, so that its size suits the hardware: logits are wider than the
    tokenizer, and a token without text may be drawn. That is said once.
    """
    known = len(tokenizer)
    if all(token < known for token in tokens):
        return str(tokenizer.decode(tokens, skip_special_tokens=True))
    _say_padded(known)
    runs = groupby(tokens, key=lambda token: token < known)
    return "".join(
        tokenizer.decode(list(run), skip_special_tokens=True)
        if has_text
        else "".join(f"<token {token}>" for token in run)
        for has_text, run in runs
    )


@cache
def _say_padded(known: int) -> None:
    log.warning(
        "the model drew a token that its tokenizer of %d does not know (its vocabulary is padded); "
        "texts show it as <token NUMBER>",
        known,
    )
