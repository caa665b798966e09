"""The chain store: every finished chain, appended as it finishes, found again by its key.

A job that is killed, preempted or asked for more samples reads the store and computes only what is
missing. The store is not an output of the workflow, which deletes the outputs of failed jobs. Each
job appends to a file of its own and reads those of its cell's other jobs, so that a study cut into
other shards finds its chains too. Where two runs of a study start the same job at once, a file lock
makes the second wait; it then finds its chains in the store.
"""

import fcntl
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from powerblend.study.files import DamagedFile, parse_line

log = logging.getLogger(__name__)


class ChainStore:
    """Records by key, in the files of ``path``'s directory; new ones go to ``path``."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        _lock(self._file, path)
        _cut_torn_line(path)
        self._records: dict[str, dict[str, Any]] = {}
        for part in sorted(path.parent.glob("*.jsonl")):
            self._records |= _read(part)

    def get(self, key: str) -> dict[str, Any] | None:
        """The record of a finished chain."""
        return self._records.get(key)

    def add(self, record: Mapping[str, Any]) -> None:
        """Append a finished chain; it is on disk when this returns."""
        self._records[record["key"]] = dict(record)
        self._file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def _lock(file: BinaryIO, path: Path) -> None:
    """Be the only writer of a file until it is closed, or the process ends, however it ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("%s: another job is writing to it; waiting until that one has ended", path)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        # Some cluster file systems have none. Snakemake's own lock is then the only one.
        log.warning("%s: cannot be locked (%s); run this study once at a time", path, error)


def _cut_torn_line(path: Path) -> None:
    """Cut off what an interrupted write left at the end of a file."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        number = content.count(b"\n") + 1
        log.warning("%s, line %d: torn by an interruption; dropped", path, number)
        os.truncate(path, whole)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The whole records of a file; damaged lines are passed over, with a warning."""
    records = {}
    # What follows the last line break is being written by another job.
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            record = parse_line(path, number, line)
            records[record["key"]] = record
        except (DamagedFile, KeyError) as error:
            log.warning("%s; that chain will be run again", error)
    return records
