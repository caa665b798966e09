"""Problems: read from the Hugging Face hub or a local file, and checked.

Knows no shards: shard i of n holds the problems whose index is i modulo n.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from powerblend.study.config import ConfigError, DatasetSpec
from powerblend.study.files import DamagedFile, numbered_jsonl, write_jsonl

Row = tuple[str, Mapping[str, Any]]
"""A problem as the dataset has it, and where: ``line 3``."""

OPTIONAL = ("subject", "level", "unique_id")
LOCAL = (".jsonl", ".parquet")
"""Endings of the names of local files; any other name is a dataset on the hub."""


@dataclass(frozen=True)
class Problem:
    """A problem with its reference answer, in the fields of MATH-500."""

    problem: str
    answer: str
    unique_id: str
    subject: str = ""
    level: int | None = None


def load_problems(dataset: DatasetSpec) -> list[Problem]:
    """All problems of a dataset, in its order.

    Raises
    ------
    ConfigError
        Naming the file or dataset and what is wrong: missing, empty, without a column, a problem
        without text or answer, or two with one id.
    DamagedFile
        If a line of a ``.jsonl`` file is not JSON in UTF-8.
    """
    rows = _rows(dataset)
    if not rows:
        raise ConfigError(f"dataset.name: {dataset.name} holds no problems")
    columns = _columns(dataset, rows[0][1])
    problems = [_problem(dataset, row, index, columns) for index, row in enumerate(rows)]
    seen: dict[str, str] = {}
    for (place, _), problem in zip(rows, problems, strict=True):
        if problem.unique_id in seen:
            raise ConfigError(
                f"{dataset.name}, {place}: has the unique_id {problem.unique_id!r} of "
                f"{seen[problem.unique_id]}; every problem needs its own"
            )
        seen[problem.unique_id] = place
    return problems


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write problems as JSON lines."""
    write_jsonl(path, map(asdict, problems))


def read_problems(path: Path) -> list[Problem]:
    """Read what `write_problems` wrote.

    Raises
    ------
    DamagedFile
        At the first line that is not a problem.
    """
    whole = TypeAdapter(Problem)
    problems = []
    for number, row in numbered_jsonl(path):
        try:
            problems.append(whole.validate_python(row))
        except ValidationError as error:
            problem = error.errors()[0]
            reason = ".".join(map(str, problem["loc"])) + ": " + problem["msg"].lower()
            raise DamagedFile(
                f"{path}, line {number}: {reason}; delete the file and run the workflow again"
            ) from None
    return problems


def _rows(dataset: DatasetSpec) -> list[Row]:
    path = Path(dataset.name)
    if path.suffix not in LOCAL:
        return _hub_rows(dataset)
    if not path.is_file():
        raise ConfigError(f"dataset.name: there is no file {path}")
    if path.suffix == ".jsonl":
        return [(f"line {number}", row) for number, row in numbered_jsonl(path)]
    try:
        rows = pd.read_parquet(path).to_dict("records")
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"dataset.name: cannot read {path}: {reason}") from error
    return [
        (f"row {number}", {str(column): value for column, value in row.items()})
        for number, row in enumerate(rows, start=1)
    ]


def _hub_rows(dataset: DatasetSpec) -> list[Row]:
    # datasets takes seconds to import and is not needed for a local file.
    from datasets import load_dataset

    try:
        rows = load_dataset(dataset.name, split=dataset.split, revision=dataset.revision)
        return [(f"row {number}", row) for number, row in enumerate(rows, start=1)]
    except Exception as error:
        raise ConfigError(
            f"dataset.name: cannot load {dataset.name} (split {dataset.split}, revision "
            f"{dataset.revision}) from the hub: {str(error).strip().splitlines()[0]}; a local "
            ".jsonl or .parquet file with the same fields serves too"
        ) from error


def _columns(dataset: DatasetSpec, row: Mapping[str, Any]) -> dict[str, str]:
    """The dataset's column for each field of a problem that it has."""
    columns = {field.name: field.name for field in fields(Problem)} | dict(dataset.columns)
    for field, column in columns.items():
        if column not in row and (field not in OPTIONAL or field in dataset.columns):
            raise ConfigError(
                f"dataset.columns.{field}: {dataset.name} has no column {column!r}; it has "
                f"{', '.join(row)}"
            )
    return {field: column for field, column in columns.items() if column in row}


def _problem(dataset: DatasetSpec, row: Row, index: int, columns: Mapping[str, str]) -> Problem:
    place, cells = row
    values: dict[str, Any] = {field: cells.get(column) for field, column in columns.items()}
    for field in ("problem", "answer"):
        if not str(values[field] if values[field] is not None else "").strip():
            raise ConfigError(f"{dataset.name}, {place}: has no {columns[field]}")
        values[field] = str(values[field])
    values["unique_id"] = str(values.get("unique_id") or f"{dataset.split}/{index}")
    values["subject"] = str(values.get("subject") or "")
    values["level"] = _level(values.get("level"))
    _check_text(dataset, place, values)
    return Problem(**values)


def _check_text(dataset: DatasetSpec, place: str, values: Mapping[str, Any]) -> None:
    """JSON can spell half of a character, which no file in UTF-8 can hold."""
    for field, value in values.items():
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"{dataset.name}, {place}: {field} is no text ({error})") from None


def _level(value: Any) -> int | None:
    """MATH writes levels as 3 or as "Level 3"."""
    digits = "".join(filter(str.isdigit, str(value)))
    return int(digits) if digits else None
