"""What the lines of generated and graded files hold.

Every field is checked wherever a line is read: one that lacks a number would otherwise be left out
of a mean in silence. Fields that are not known here are kept.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from powerblend.engine.endings import Finish


class ReplicaRecord(BaseModel):
    """Another string of an answer; the fields are those of `Replica`."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, frozen=True)

    tokens: list[int]
    text: str | None = None
    log_p: float
    finish: Finish
    alpha: float | None = None
    swaps: int | None = None
    moves: int | None = None
    accepted: int | None = None
    unchanged: int | None = None
    weight: float | None = None

    @model_serializer(mode="wrap")
    def _what_was_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {k: value for k, value in dump(self).items() if k in self.model_fields_set}


class AnswerCounts(BaseModel):
    """Which answer it is, and what it cost; the fields are those of `Generation`."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, frozen=True)

    problem_id: str
    sample: int
    seed: int | None = None
    beta: float | None = None
    n_tokens: int
    finish: Finish
    prompt_tokens: int | None = None
    decoded_tokens: int
    moves: int
    accepted: int
    unchanged: int
    early_rejected: int
    log_p: float
    log_t: float | None = None
    accepted_by_block: list[int]
    log_t_by_block: list[float]
    seconds: float
    moved: int | None = None
    log_normaliser: float | None = None

    @model_serializer(mode="wrap")
    def _what_was_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A field that a record lacks stays out of its line."""
        given = self.model_fields_set
        return {key: value for key, value in dump(self).items() if key in given}


ANSWER_FIRST = (
    *("study", "condition", "problem_id", "sample", "seed", "beta", "completion", "tokens"),
)
"""Where a reader of a line of answers begins."""


class AnswerRecord(AnswerCounts):
    """A line of what a generate job writes: an answer with all that is known of it.

    ``study`` and ``condition`` say where it belongs and decide nothing; ``key`` is the SHA-256 of
    everything that decides it.
    """

    study: str | None = None
    condition: str | None = None
    completion: str
    tokens: list[int]
    key: str
    replicas: list[ReplicaRecord] | None = None
    token_log_p: list[float] | None = None
    token_entropy: list[float] | None = None
    token_certainty: list[float] | None = None

    @model_serializer(mode="wrap")
    def _completion_first(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        line = self._what_was_given(dump)
        return {key: line[key] for key in ANSWER_FIRST if key in line} | line


class GradeRecord(AnswerCounts):
    """A line of what a grade job writes: an answer's counts and the verdicts on it.

    ``correct`` is the grader's verdict, ``second`` that of a second one (None where it gave none),
    ``reason`` says why an answer could not be graded, and ``rule`` what made it equal to the
    reference (None where nothing did).
    """

    subject: str
    level: int | None
    answer: str | None
    gold: str
    correct: bool
    second: bool | None
    reason: str | None
    rule: str | None = None
