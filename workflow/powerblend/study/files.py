"""JSON lines, read with errors that name the line and written whole or not at all."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class DamagedFile(ValueError):
    """A file that does not hold what it should; the message names the file and the line."""


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All records of a file.

    Raises
    ------
    DamagedFile
        At the first line that is not a JSON object in UTF-8.
    """
    return [
        parse_line(path, number, line)
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1)
        if line.strip()
    ]


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
    """Write records, atomically."""
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def write_text(path: Path, text: str) -> None:
    """Write a text file so that readers see the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
