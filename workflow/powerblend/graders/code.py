"""Programs: the completion's code must pass the reference's tests, in a sandbox."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from powerblend.graders.base import Case, Grader, Verdict
from powerblend.graders.code_blocks import (
    entry_point,
    python_blocks,
    solution,
    without_guard,
)
from powerblend.graders.sandbox import Limits, run_program, why_not


class CodeGrader(Grader):
    """The problem, the answer and the reference, one after the other, are one Python program.

    So an answer may be the whole function or the rest of the one that the problem begins.
    """

    grader: Literal["code"] = "code"
    run_code: bool = Field(
        default=False, description="allow programs that a model wrote to be run, in a sandbox"
    )
    seconds: float = Field(default=10.0, gt=0, le=3600, description="longest run of one program")
    memory_mb: int = Field(default=1024, ge=64, description="memory of one program")
    method: ClassVar[str] = (
        "the last code block of a completion that defines the function asked for must pass the "
        "reference's tests, in a sandbox; a "
        "completion without one is wrong. There is no second opinion"
    )

    @model_validator(mode="after")
    def _allowed(self) -> Self:
        if not self.run_code:
            raise ValueError(
                "run_code is false; the code grader runs programs that a model wrote (without "
                "network, with limits to time, memory and files): write run_code: true to allow it"
            )
        return self

    def answer(self, completion: str) -> str | None:
        """The last complete code block that defines a function, or the last one of all."""
        return solution(python_blocks(completion), None)

    def answer_to(self, completion: str, problem: str, reference: str) -> str | None:
        """The code blocks that define the function which the tests check."""
        return solution(python_blocks(completion), entry_point(problem, reference))

    def verdicts(self, cases: Sequence[Case], workers: int) -> Iterator[Verdict]:
        """Verdicts without a second opinion; equal cases are run once."""
        limits = Limits(self.seconds, self.memory_mb * 2**20)

        def verdict(case: Case) -> Verdict:
            if case.answer is None:
                return Verdict(False, None, "no answer")
            answer = without_guard(case.answer)
            program = "\n".join((case.problem.rstrip(), answer, case.reference))
            passed, reason = run_program(program, limits)
            return Verdict(passed, None, reason, "its tests pass" if passed else None)

        with ThreadPoolExecutor(max_workers=max(1, workers)) as threads:
            futures = {case: threads.submit(verdict, case) for case in dict.fromkeys(cases)}
            yield from (futures[case].result() for case in cases)

    def check(self) -> None:
        """Raise ValueError if there can be no sandbox here."""
        reason = why_not()
        if reason:
            raise ValueError(f"grading: the code grader runs nothing without a sandbox: {reason}")
