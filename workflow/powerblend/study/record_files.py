"""Files of answer and grade records, checked line by line as they are read."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from powerblend.infrastructure import files
from powerblend.infrastructure.files import DamagedFile, numbered_jsonl
from powerblend.vocabulary.records import AnswerCounts

Record = TypeVar("Record", bound=AnswerCounts)

REMADE = f"{files.REMADE}; finished chains are stored and stay"
"""The way out of a damaged file that is made of a chain store."""


def read_records(path: Path, kind: type[Record]) -> Iterator[tuple[int, Record]]:
    """The records of a file, each with the number of its line.

    Raises
    ------
    DamagedFile
        At the first line that is not a record of this kind.
    """
    for number, line in numbered_jsonl(path):
        try:
            yield number, kind.model_validate(line)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(map(str, problem["loc"]))
            reason = f"{field}: {problem['msg'].lower()}"
            raise DamagedFile(f"{path}, line {number}: {reason}; {REMADE}") from None
