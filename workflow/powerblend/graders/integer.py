"""Integers: the boxed answer must be the reference's number, however it is written."""

import re
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from powerblend.graders.base import Case, Grader, Verdict

CHARACTER_LIMIT = 100
"""Characters of an answer that may still be read as an integer."""


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
                yield Verdict(integer(case.answer) == reference, None)


def integer(text: str) -> int | None:
    """The integer that a text writes, without units, separators and a name before it, or None."""
    from powerblend.graders.mathematics.normalise import normalise
    from powerblend.graders.mathematics.shape import without_name

    if len(text) > CHARACTER_LIMIT:
        return None
    number = re.fullmatch(r"([+-]?\d+)(?:\.0*)?", without_name(normalise(text)), re.ASCII)
    return int(number[1]) if number else None
