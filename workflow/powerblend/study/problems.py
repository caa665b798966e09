"""Problems: read from the Hugging Face hub or a local file, and checked.

Knows no shards: shard i of n holds the problems whose index is i modulo n.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from powerblend.datasets import ADAPTERS
from powerblend.infrastructure.files import REMADE, DamagedFile, found, numbered_jsonl, write_jsonl
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.specs import LOCAL_SUFFIXES, DatasetSpec

Row = tuple[str, Mapping[str, Any]]
"""A problem as the dataset has it, and where: ``line 3``."""


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
    problems = [_problem(dataset, row, index) for index, row in enumerate(rows)]
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
            raise DamagedFile(f"{path}, line {number}: {reason}; {REMADE}") from None
    return problems


def _rows(dataset: DatasetSpec) -> list[Row]:
    path = found(dataset.name)
    if path.suffix not in LOCAL_SUFFIXES:
        return _hub_rows(dataset)
    if not path.is_file():
        raise ConfigError(f"dataset.name: there is no file {path}")
    if path.suffix == ".jsonl":
        return [(f"line {number}", row) for number, row in numbered_jsonl(path)]
    # Whoever only plans a study waits for no pandas.
    import pandas as pd

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
        options = {"split": dataset.split, "revision": dataset.revision}
        rows = load_dataset(dataset.name, dataset.subset, **options)
        return [(f"row {number}", row) for number, row in enumerate(rows, start=1)]
    except Exception as error:
        raise ConfigError(
            f"dataset.name: cannot load {dataset.name} (split {dataset.split}, revision "
            f"{dataset.revision}) from the hub: {str(error).strip().splitlines()[0]}; a local "
            ".jsonl or .parquet file with the same fields serves too"
        ) from error


def _problem(dataset: DatasetSpec, row: Row, index: int) -> Problem:
    place, cells = row
    values = dict(_fields(dataset, cells, place))
    for field in ("problem", "answer"):
        if not str(values[field] if values[field] is not None else "").strip():
            column = dataset.columns.get(field, field)
            raise ConfigError(f"{dataset.name}, {place}: has no {column}")
        values[field] = str(values[field])
    identity = values.get("unique_id")
    # Numbers from 0 are ids too.
    values["unique_id"] = f"{dataset.split}/{index}" if identity in (None, "") else str(identity)
    values["subject"] = str(values.get("subject") or "")
    values["solution"] = str(values.get("solution") or "")
    values["level"] = _level(values.get("level"))
    _check_text(dataset, place, values)
    return Problem(**values)


def _fields(dataset: DatasetSpec, row: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """What the adapter makes of a row, in which columns have the names that were asked for."""
    for field, column in dataset.columns.items():
        if column not in row:
            raise ConfigError(
                f"dataset.columns.{field}: {dataset.name} has no column {column!r}; it has "
                f"{', '.join(row)}"
            )
    renamed: dict[str, Any] = {field: row[column] for field, column in dataset.columns.items()}
    try:
        return ADAPTERS[dataset.adapter]({**row, **renamed})
    except KeyError as error:
        raise ConfigError(
            f"dataset.adapter: {dataset.adapter} reads the column {error}, but {dataset.name}, "
            f"{place}, has {', '.join(row)}"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"dataset.adapter: {dataset.adapter} cannot read {dataset.name}, {place}: {error}"
        ) from None


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
