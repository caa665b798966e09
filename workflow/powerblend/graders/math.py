"""The default grader: the boxed answer by structure and value, Math-Verify as second opinion."""

from collections.abc import Generator, Iterator, Sequence
from typing import ClassVar, Literal

from powerblend.graders.base import Case, Grader, Verdict
from powerblend.graders.boxed import extract_boxed, extract_boxed_list
from powerblend.graders.mathematics.certain import certain_verdict
from powerblend.graders.mathematics.normalise import normalise
from powerblend.graders.mathematics.shape import elements_of

VERDICT_SECONDS = 20.0
"""Of processor time for one grader on one answer; after that there is no verdict."""


class MathGrader(Grader):
    """``powerblend.grading`` on the contents of the last box."""

    grader: Literal["math"] = "math"
    method: ClassVar[str] = (
        r"the last `\boxed{}` of a completion, compared by structure and value with the reference; "
        "an answer without one is wrong. Math-Verify is the second opinion"
    )

    def answer_to(self, completion: str, problem: str, reference: str) -> str | None:
        """The last box, or where several values are asked for, the last boxes in a row."""
        several = len(elements_of(normalise(reference)).parts) > 1
        return extract_boxed_list(completion) if several else extract_boxed(completion)

    def verdicts(self, cases: Sequence[Case], workers: int) -> Iterator[Verdict]:
        """Both graders' verdicts; equal cases are graded once, and those that are certain not."""
        certain = {case: certain_verdict(case.answer, case.reference) for case in cases}
        asked = _asked([case for case, verdict in certain.items() if verdict is None], workers)
        for case in cases:
            certain[case] = verdict = certain[case] or next(asked)
            yield verdict
        asked.close()


def _asked(cases: Sequence[Case], workers: int) -> Generator[Verdict]:
    """The verdicts of workers, which are started at the first one that is wanted."""
    # Nothing else needs a pool of processes.
    from powerblend.graders.mathematics.pool import GraderPool

    with GraderPool(workers=workers, seconds=VERDICT_SECONDS) as pool:
        yield from pool.grade((case.answer, case.reference, case.problem) for case in cases)
