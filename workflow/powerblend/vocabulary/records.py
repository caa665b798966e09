"""What the lines of generated and graded files must hold: checked wherever they are read.

A line that lacks a number would otherwise be left out of a mean in silence.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from powerblend.infrastructure import files
from powerblend.infrastructure.files import DamagedFile, numbered_jsonl

REMADE = f"{files.REMADE}; finished chains are stored and stay"
"""The same, where the file is made of a chain store."""


class Counted(BaseModel):
    """An answer's identity and what it cost."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    problem_id: str
    sample: int
    n_tokens: int
    finish: str
    decoded_tokens: int
    moves: int
    accepted: int
    unchanged: int
    early_rejected: int
    log_p: float
    seconds: float
    accepted_by_block: list[int]
    log_t_by_block: list[float]


class Generated(Counted):
    """A line of what a generate job writes."""

    completion: str
    tokens: list[int]
    key: str


class Graded(Counted):
    """A line of what a grade job writes."""

    answer: str | None
    gold: str
    correct: bool
    second: bool | None
    reason: str | None
    rule: str | None = None
    subject: str
    level: int | None


def read_records(path: Path, kind: type[Counted]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a file, each with the number of its line.

    Raises
    ------
    DamagedFile
        At the first line that is not a record of this kind.
    """
    for number, record in numbered_jsonl(path):
        try:
            kind.model_validate(record)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(map(str, problem["loc"]))
            reason = f"{field}: {problem['msg'].lower()}"
            raise DamagedFile(f"{path}, line {number}: {reason}; {REMADE}") from None
        yield number, record
