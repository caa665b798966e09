"""Integers: the boxed answer must be the reference's number, however it is written."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from powerblend.graders.base import Case, Grader, Verdict
from powerblend.graders.mathematics.names import (
    Side,
    is_quantity,
    letters,
    sides_of,
    without_modulus,
)
from powerblend.graders.mathematics.normalise import normalise
from powerblend.graders.mathematics.units import unit_name

CHARACTER_LIMIT = 100
"""Of an answer that may still be read as an integer."""

_NUMBER = re.compile(
    r"\(?([+-]?\d+)(?:\.0*)?\)?(?:\\unit\{[^{}]*\}|\\text\{(?P<noun>[^{}]*)\})?\)?\Z", re.ASCII
)
_POWER_OF_TEN = re.compile(r"[\s$]*[+-]?\d+[eE]\+?\d+[\s$.]*")
_WORDS_BEFORE = re.compile(
    r"^(?:[A-Za-z]{3,}:|\\text\{(?![^{}]*(?:not\}|isnot|minus|negative|atleast|atmost|than\}|about\}"
    r"|over\}|under\}|upto|nearly|almost|approximately))[^{}\d]*\})"
)


class IntegerGrader(Grader):
    r"""1,234 is 1234, ``\$18.00`` is 18, 033 is 33; what has to be worked out, as 2^3, is not 8."""

    grader: Literal["integer"] = "integer"
    method: ClassVar[str] = (
        r"the last `\boxed{}` of a completion, read as an integer; an answer without one is wrong. "
        "There is no second opinion"
    )

    def verdicts(self, cases: Sequence[Case], workers: int) -> Iterator[Verdict]:
        """Verdicts without a second opinion.

        Raises
        ------
        ValueError
            If a reference is no integer.
        """
        for case in cases:
            reference = integer(case.reference)
            if reference is None:
                raise ValueError(
                    f"the reference answer {case.reference!r} is not an integer; "
                    "use grading: {grader: math}"
                )
            if case.answer is None:
                yield Verdict(False, None, "no answer")
            else:
                correct = integer(case.answer) == reference
                yield Verdict(correct, None, rule="the same integer" if correct else None)


def integer(text: str) -> int | None:
    """The integer that a text writes, without units, separators and names before it, or None."""
    if len(text) > CHARACTER_LIMIT or _POWER_OF_TEN.fullmatch(text):
        return None
    sides = _exact(sides_of(without_modulus(normalise(text))[0]))
    named = [side.text for side in sides[:-1] if letters(side.text)]
    if not all(map(is_quantity, named)):
        return None
    number = _NUMBER.match(_WORDS_BEFORE.sub("", sides[-1].text, count=1))
    if number is None or (number["noun"] and unit_name(_words_behind(text)) is None):
        return None
    return int(number[1])


def _exact(sides: list[Side]) -> list[Side]:
    """Without what a number is said to be near to."""
    pairs = enumerate(itertools.pairwise(sides), 1)
    near = (n for n, (a, b) in pairs if b.relation == r"\approx" and not letters(a.text))
    return sides[: next(near, None)]


def _words_behind(text: str) -> str:
    """The words at the end, as they were written: their spaces tell "or more" from a noun."""
    return re.split(r"[^A-Za-z\s-]", text.rstrip("}.$ "))[-1]
