"""JSON lines, read with errors that name the line and written whole or not at all."""

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors that end when somebody makes room: no space, a quota, a limit on the size of files."""


REMADE = (
    "if the workflow made it, delete it and run the workflow again; if not, give the file that "
    "belongs there (--help says which)"
)
"""The way out of a file that does not hold what it should: it is damaged, or it is another."""


PROJECT = Path(__file__).resolve().parents[3]
"""The folder of the Snakefile, whose studies name files beside it."""


def found(name: str) -> Path:
    """A file that a study names: in the working directory or else beside the Snakefile."""
    path = Path(name)
    return path if path.exists() or not (PROJECT / path).exists() else PROJECT / path


class FullDisk(OSError):
    """There is no room to write; the message names the file and the way out."""


class DamagedFile(ValueError):
    """A file that does not hold what it should; the message names the file and the line."""


def read_json(path: Path) -> Any:
    """A file of one JSON value.

    Raises
    ------
    DamagedFile
        If it is not JSON in UTF-8.
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedFile(f"{path}: not JSON in UTF-8 ({error}); {REMADE}") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All records of a file.

    Raises
    ------
    DamagedFile
        At the first line that is not a JSON object in UTF-8.
    """
    return [record for _, record in numbered_jsonl(path)]


def numbered_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a file, each with the number of its line; raises as `read_jsonl` does."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, parse_line(path, number, line)


def parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """One record."""
    try:
        record = json.loads(line.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedFile(f"{path}, line {number}: not JSON in UTF-8 ({error})") from None
    if not isinstance(record, dict):
        raise DamagedFile(f"{path}, line {number}: {type(record).__name__}, not an object")
    return record


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records, atomically, holding one at a time."""
    with replacing(path) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old one or the new one, never a part."""
    with replacing(path) as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON for people to read, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file to write, which takes the place of ``path`` once it is whole and on disk."""
    partial = path.with_name(path.name + ".partial")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("w", encoding="utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            # Of a write that failed, the part that there was room for.
            partial.unlink(missing_ok=True)


def write_missing(path: Path, text: str) -> None:
    """Write a file, unless it holds the text already: then it keeps its time."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def share(path: Path) -> None:
    """Give a file the mode of any new one, where a library has made it for its owner alone."""
    mask = os.umask(0o022)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name ``path`` in the error of a disk that is full, which by itself names no file."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise FullDisk(
            f"{path}: cannot be written ({os.strerror(error.errno)}); free space there and run "
            "the same command again: it goes on from what is finished"
        ) from error
