r"""How an answer is put together: tuple, set, list, matrix, ratio.

A shape is a kind and the strings of its parts. Knows nothing about what parts are worth.
"""

import re
from typing import NamedTuple

from powerblend.graders.mathematics.brackets import enclosed, split, split_keeping

SEPARATORS = (",", ";", r"\and", r"\or")

_ENVIRONMENT = re.compile(
    r"(?P<factor>.*?)(?P<open>\\\{|[(\[]|\\\||\|)?"
    r"\\begin\{(?P<name>[pbBvV]?(?:small)?matrix|array)\}(?:\{[lcr|]*\})?(?P<body>.*)"
    r"\\end\{(?P=name)\}(?P<close>\\\}|[)\]]|\\\||\|)?(?P<power>\^\{?\\?T\}?)?\Z",
    re.DOTALL,
)


class Matrix(NamedTuple):
    """Entries by rows, what all of them are multiplied with, and whether it is a determinant."""

    rows: tuple[tuple[str, ...], ...]
    factor: str
    determinant: bool


class Elements(NamedTuple):
    """Elements in the order written; of a set, or joined by "or", they are in none."""

    parts: tuple[str, ...]
    is_set: bool
    joined_by_or: bool


def matrix_of(text: str) -> Matrix | None:
    """The matrix that a string is, in whatever brackets, or None."""
    found = _ENVIRONMENT.match(text)
    if found is None or r"\begin" in found["body"] or r"\begin" in found["factor"]:
        return None
    if found["factor"] and found["factor"][-1] in "=,;":
        return None
    body = re.sub(r"\\\\\[[^\[\]]*\]", r"\\\\", found["body"]).replace(r"\hline", "")
    rows = tuple(tuple(split(row, "&")) for row in split(body, r"\\") if row)
    if found["power"]:
        if len({len(row) for row in rows}) != 1:
            return None
        rows = tuple(zip(*rows, strict=True))
    vertical = found["name"] in ("vmatrix", "Vmatrix") or found["open"] in ("|", r"\|")
    return Matrix(rows, re.sub(r"(?:\*|\\cdot|\\times) ?\Z", "", found["factor"]), vertical)


def tuple_of(text: str) -> tuple[str, tuple[str, ...]] | None:
    r"""The brackets and elements of a tuple or an interval; ``\langle`` counts as round."""
    text = re.sub(r"^\\langle ?(.*)\\rangle ?$", r"(\1)", text)
    if not enclosed(text) or text[:1] not in ("(", "[") or text[-1:] not in (")", "]"):
        return None
    parts = split(text[1:-1], ",", ";")
    return (text[0] + text[-1], tuple(parts)) if len(parts) > 1 else None


def elements_of(text: str) -> Elements:
    """The elements of a set or a list; anything else is a list of one."""
    inside = text[2:-2] if text[:2] == r"\{" and text[-2:] == r"\}" and enclosed(text) else None
    parts = split_keeping(text if inside is None else inside, *SEPARATORS)
    kept = tuple(part for part, _ in parts if part)
    relations = {separator for part, separator in parts if part and separator}
    return Elements(kept, inside is not None, relations == {r"\or"})


def ratio_of(text: str) -> list[str] | None:
    """The parts of 3:4, or None."""
    parts = split(text, ":")
    return parts if len(parts) > 1 and all(parts) else None
