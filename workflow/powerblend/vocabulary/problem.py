"""A problem, as every dataset comes to have it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """A problem with its reference answer, in the fields of MATH-500; not all have the last two."""

    problem: str
    answer: str
    unique_id: str
    subject: str = ""
    level: int | None = None
    solution: str = ""
