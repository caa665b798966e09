r"""What stands before a value: ``x = 5``, ``f(x) = 2x+3``, ``a+b = 256+37 = 293``, ``x \in [0,1]``.

A chain of sides has names first and then values, which say the same. Knows what may be a name, and
nothing about what values are worth.
"""

import re
from typing import NamedTuple

from powerblend.graders.mathematics.brackets import split_keeping

RELATIONS = ("=", r"\approx", r"\equiv", r"\Rightarrow", r"\cong")

_LETTER = r"(?:[A-Za-z]|\\[A-Za-z]+ ?)"
_SUBSCRIPT = r"(?:_(?:\w|\{[^{}]*\}|\{\\text\{[^{}]*\}\}|\\text\{[^{}]*\}))?"
_DECORATED = (
    r"\\(?:overline|vec|hat|bar|tilde|widehat|widetilde|overrightarrow|overleftrightarrow|dot|ddot"
    r"|overset\{[^{}]*\})\s*(?:\{[^{}]*\}|[A-Za-z])"
)
_SIMPLE = rf"(?:{_DECORATED}|\{{?{_LETTER}{_SUBSCRIPT}'*\}}?)"
_NAME = re.compile(
    rf"(?:{_SIMPLE}"  # x, x_1, \theta, \vec{v}
    r"|[A-Z]{2,5}|m?\\(?:angle|triangle) ?\{?[A-Za-z\\]+\}?"  # AB, \angle ABC
    r"|\[[A-Z]{2,6}\]|\|{1,2}[^|]+\|{1,2}|\\\|[^|]+\\\|"  # [ABC], |AB|, \|v\|
    rf"|{_SIMPLE}(?:\^\{{?\(?-?\d\)?\}}?|'*)?[(\[][^=<>]*[)\]]"  # f(x), P(A), f^{-1}(3), E[X]
    r"|\\text\{[^{}]*\}[:\s]*|\\text\{[^{}\d]*\}\([^=<>]*\)"  # words, \text{lcm}(4,6)
    r"|[A-Z]\^(?:\{-1\}|\\?T)|(?:\\text\{[^{}]*\}|[A-Za-z(){}])*[A-Za-z]{4,}[^=<>]*"  # words
    rf"|\({_SIMPLE}(?:,{_SIMPLE})+\)"  # (x, y)
    r"|\\frac\{d[^{}]*\}\{d[^{}]*\}|\\(?:int|sum|prod|lim)(?![A-Za-z]).*)\Z"  # dy/dx, an integral
)
_PLAIN = re.compile(rf"{_SIMPLE}\Z")
_FUNCTION = re.compile(
    r"\\(?:sin|cos|tan|cot|sec|csc|arc\w+|gcd|lcm|det|Pr|max|min|deg|dim|operatorname)"
)
_COMMAND = re.compile(
    r"\\(?:begin|end)\{[A-Za-z]+\}|\\(?:frac|sqrt|cdot|times|left|right|text|pi|log|ln|exp|unit|gap|binom|div)(?![a-zA-Z])"
)
_MEMBER = re.compile(rf"(?:{_SIMPLE}|\({_SIMPLE}(?:,{_SIMPLE})+\))\\in ?(.+)\Z", re.DOTALL)
_MODULUS = re.compile(
    r"\(?(?:\\(?:pmod|bmod|mod)|\(mod|\\text\{\(?mod\)?\}) ?\{?(?P<modulus>\w+)\}?\)?\Z"
)


class Side(NamedTuple):
    """One side of a chain, and the relation that is written before it."""

    text: str
    relation: str


def sides_of(text: str) -> list[Side]:
    """The sides of a chain of equations; a single one where there is no relation."""
    return [Side(part, relation) for part, relation in split_keeping(text, *RELATIONS)]


def is_name(text: str) -> bool:
    """Whether a side can only be the name of what is asked for."""
    if _NAME.match(text) is None or text in ("e", "i", r"\pi", r"\infty"):
        return False
    if text[0] == "|" and len(letters(text)) == 1 and re.search(r"\d", text):
        return False  # |x-3| = 5 is to be solved
    product = re.match(r"([a-z])[(\[](.*)[)\]]\Z", text)  # n(n+1) is none, f(n+1) and y(t) are
    return product is None or product[1] in "fghpqrsuvw" or product[1] not in product[2]


def plain_name(text: str) -> str | None:
    """The name that a side is, if it is a letter, with or without a subscript."""
    return text if _PLAIN.match(text) and is_name(text) else None


def is_quantity(text: str) -> bool:
    r"""Whether a side with letters may be what a number is asked for, and is not to be solved.

    ``a+b`` and ``\sin\theta`` are quantities; with one letter, as ``x^2`` or ``2x``, an equation
    says that x is something else than the other side.
    """
    if is_name(text) or _FUNCTION.search(text):
        return not re.fullmatch(r"\|[xy]\|", text)
    unknowns = letters(text)
    # With coefficients or powers, x and y make a line or a curve.
    return len(unknowns) >= 2 and not (unknowns <= set("xyz") and re.search(r"[\d^]", text))


def letters(text: str) -> set[str]:
    """Letters that stand for something, in Latin and Greek."""
    bare = re.sub(r"\\(?:text|unit)\{[^{}]*\}", "", text)
    found = re.findall(r"\\[A-Za-z]+|[A-Za-z]", _COMMAND.sub(" ", bare))
    return set(found) - {"e", "i"}


def without_membership(text: str) -> str:
    r"""``[-2,7]`` of ``x \in [-2,7]``."""
    member = _MEMBER.match(text)
    return member[1] if member else text


def without_modulus(text: str) -> tuple[str, str | None]:
    r"""``x\equiv7`` and 12 of ``x \equiv 7 \pmod{12}``."""
    found = _MODULUS.search(text)
    return (text[: found.start()], found["modulus"]) if found and found.start() else (text, None)
