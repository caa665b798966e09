"""The default grader: the boxed answer, compared symbolically; Math-Verify as second opinion."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from powerblend.graders.base import Case, Grader, Verdict

# The methods import what they need: reading a configuration needs no computer algebra.

VERDICT_SECONDS = 20.0
"""Longest that one answer may take; after that it counts as wrong, with its reason."""


class MathGrader(Grader):
    """``powerblend.grading`` on the contents of the last box."""

    grader: Literal["math"] = "math"
    method: ClassVar[str] = (
        r"the last `\boxed{}` of a completion, compared symbolically with the reference; an answer "
        "without one is wrong. Math-Verify is the second opinion"
    )

    def verdicts(self, cases: Sequence[Case], workers: int) -> Iterator[Verdict]:
        """Both graders' verdicts; equal cases are graded once."""
        from powerblend.graders.mathematics.pool import GraderPool

        with GraderPool(workers=workers, seconds=VERDICT_SECONDS) as pool:
            yield from pool.grade((case.answer, case.reference) for case in cases)
