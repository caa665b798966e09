r"""Brackets in a LaTeX string: where they close, and what stands outside of all of them.

Knows tokens only: a backslash takes the next character, or the letters of a command, with it.
"""

import re
from itertools import accumulate

_TOKEN = re.compile(r"\\[A-Za-z]+ ?|\\.|.", re.DOTALL)
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_DELIMITERS = {r"\langle": 1, r"\rangle": -1, r"\lfloor": 1, r"\rfloor": -1}


def closing_brace(text: str, start: int) -> int:
    """Where the group whose contents begin at ``start`` closes; -1 where it never does."""
    depth = 1
    for token in _BRACES.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.start()
    return -1


def without_braces(text: str) -> str:
    """Without braces around the whole, which only hold together."""
    while text[:1] == "{" and closing_brace(text, 1) == len(text) - 1:
        text = text[1:-1]
    return text


def split(text: str, *separators: str) -> list[str]:
    """Parts between the separators that stand outside of all brackets."""
    return [part for part, _ in split_keeping(text, *separators)]


def split_keeping(text: str, *separators: str) -> list[tuple[str, str]]:
    """Parts, each with the separator before it, which is empty for the first."""
    parts, before = [""], [""]
    tokens = _TOKEN.findall(text)
    environment = 0
    for token, depth in zip(tokens, depths(tokens), strict=True):
        environment += {r"\begin": 1, r"\end": -1}.get(token, 0)
        if depth == 0 and environment == 0 and token.strip() in separators:
            parts.append("")
            before.append(token.strip())
        else:
            parts[-1] += token
    return list(zip(parts, before, strict=True))


def enclosed(text: str) -> bool:
    """Whether the first bracket closes at the very end, of whatever shape the two are."""
    after = depths(_TOKEN.findall(text))
    return len(after) > 1 and after[-1] == 0 and 0 not in after[:-1]


def depths(tokens: list[str]) -> list[int]:
    """How many brackets are open after each token."""
    return list(accumulate(_change(token) for token in tokens))


def _change(token: str) -> int:
    return _BRACKETS.get(token.lstrip("\\")) or _DELIMITERS.get(token.strip(), 0)
