r"""How an answer is put together: tuple, interval, union, set, matrix, list or equation.

A shape is a kind and the strings of its parts; what cannot be divided is a value. Knows nothing
about what parts are worth.
"""

import re
from itertools import accumulate
from typing import NamedTuple

_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_TOKEN = re.compile(r"\\[A-Za-z]+ ?|\\.|.", re.DOTALL)
_MATRIX = re.compile(r"^\\begin\{([pb]?matrix)\}(.*)\\end\{\1\}$", re.DOTALL)
_RELATION = re.compile(r"=|<|>|\\(?:le|ge|ne|in|to|equiv|approx|sim|cong)(?![A-Za-z])")
_NAMED = re.compile(r"^(?:[A-Za-z]{1,2}|\\[a-zA-Z]+|[A-Za-z]_[0-9A-Za-z])=(.+)$", re.DOTALL)
_FUNCTIONS = r"\\(?:begin|end)\{[a-z]+\}|\\[A-Za-z]+|arc(?:sin|cos|tan)|sqrt|infinity|infty"


class Shape(NamedTuple):
    """A kind, such as ``tuple(]`` or ``value``, and the parts in the order written."""

    kind: str
    parts: tuple[str, ...]


def shape_of(text: str) -> Shape:
    """The outermost structure of a normalised answer."""
    for division in (_matrix, _union, _bracketed, _list, _equation):
        shape = division(text)
        if shape is not None:
            return shape
    return Shape("value", (text,))


def is_words(text: str) -> bool:
    """Whether an answer is prose: a word of four letters that is no function, or LaTeX text."""
    return r"\text" in text or bool(re.search(r"[A-Za-z]{4,}", re.sub(_FUNCTIONS, " ", text)))


def without_name(text: str) -> str:
    """``x = 5`` as ``5``; a chain of equations, or a name for words, is left as it is."""
    named = _NAMED.match(text)
    if named is None or _RELATION.search(named[1].replace(r"\in", "")) or is_words(named[1]):
        return text
    return named[1]


def split(text: str, *separators: str) -> list[str]:
    """Parts between the separators that stand outside of all brackets."""
    parts = [""]
    tokens = _TOKEN.findall(text)
    for token, depth in zip(tokens, _depths(tokens), strict=True):
        if depth == 0 and token.strip() in separators:
            parts.append("")
        else:
            parts[-1] += token
    return parts


def _depths(tokens: list[str]) -> list[int]:
    """How many brackets are open after each token."""
    return list(accumulate(_BRACKETS.get(token.lstrip("\\"), 0) for token in tokens))


def _matrix(text: str) -> Shape | None:
    matrix = _MATRIX.match(text)
    if matrix is None:
        return None
    rows = [split(row, "&") for row in split(matrix[2], r"\\") if row]
    sizes = ",".join(str(len(row)) for row in rows)
    return Shape(f"matrix {sizes}", tuple(entry for row in rows for entry in row))


def _union(text: str) -> Shape | None:
    parts = split(text, r"\cup")
    return Shape("union", tuple(parts)) if len(parts) > 1 else None


def _bracketed(text: str) -> Shape | None:
    """Elements in one pair of brackets, which may be an interval's and differ."""
    depths = _depths(_TOKEN.findall(text))
    if depths[-1:] != [0] or 0 in depths[:-1]:
        return None
    if text[:2] == r"\{" and text[-2:] == r"\}":
        return Shape("set", tuple(split(text[2:-2], ",")))
    if text[:1] not in ("(", "[") or text[-1:] not in (")", "]"):
        return None
    parts = split(text[1:-1], ",")
    return Shape(f"tuple{text[0]}{text[-1]}", tuple(parts)) if len(parts) > 1 else None


def _list(text: str) -> Shape | None:
    parts = split(text, ",", ";")
    return Shape("list", tuple(parts)) if len(parts) > 1 else None


def _equation(text: str) -> Shape | None:
    sides = split(text, "=")
    return Shape("equation", tuple(sides)) if len(sides) == 2 and all(sides) else None
