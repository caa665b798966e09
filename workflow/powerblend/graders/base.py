"""What every grader offers the study. Knows none of them, and nothing about mathematics."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict

from powerblend.graders.boxed import extract_boxed


class Case(NamedTuple):
    """What is judged: an answer (None: the completion has none), to what, against what."""

    answer: str | None
    problem: str
    reference: str


class Judgement(NamedTuple):
    """Whether an answer is right, and which rule made it equal to the reference, if one did."""

    correct: bool
    rule: str | None


class Verdict(NamedTuple):
    """Whether an answer is right, by the grader and by a second one (None: it gave no opinion).

    ``reason`` says why one of them, or both, came to no verdict; ``rule`` what made the answer
    equal to the reference, or None where nothing did.
    """

    correct: bool
    second: bool | None
    reason: str | None = None
    rule: str | None = None


class Grader(BaseModel):
    """A way of judging: what in a completion is the answer, and whether it is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: ClassVar[str]
    """What the report says of it, a sentence without its full stop."""

    def answer(self, completion: str) -> str | None:
        """The answer of a completion, by default what is in its last box; None: there is none."""
        return extract_boxed(completion)

    def answer_to(self, completion: str, problem: str, reference: str) -> str | None:
        """The same, where what counts as the answer depends on the question."""
        return self.answer(completion)

    @abstractmethod
    def verdicts(self, cases: Sequence[Case], workers: int) -> Iterator[Verdict]:
        """Verdicts in the order of the cases, worked out in ``workers`` processes."""

    def check(self) -> None:
        """Raise ValueError if this machine cannot grade so; called before anything is generated."""
