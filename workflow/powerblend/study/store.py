"""The chain store: every finished chain, appended as it finishes, found again by its key.

A job that is killed, preempted or asked for more samples reads the store and computes only what is
missing. The store is not an output of the workflow, which deletes the outputs of failed jobs. Each
job appends to a file of its own and reads those of its cell's other jobs, so that a study cut into
other shards finds its chains too. Where two runs of a study start the same job at once, a file lock
makes the second wait; it then finds its chains in the store. A job that goes on with another's
chains does not wait: it passes over a store that is locked.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydantic import JsonValue

from powerblend.infrastructure.files import DamagedFile, naming, parse_line
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.records import AnswerRecord

log = logging.getLogger(__name__)


class Busy(Exception):
    """Another job is writing to the store."""


class Place(NamedTuple):
    """Where a record is: ``length`` bytes from ``start`` of a file."""

    path: Path
    start: int
    length: int


class ChainStore:
    """Records by key, in the files of ``path``'s directory; new ones go to ``path``.

    Holds where each record is and none of the records: a long job's memory does not grow with them.
    Where another job is writing to it, it waits until that one has ended or, without ``wait``,
    raises `Busy`.
    """

    def __init__(self, path: Path, *, wait: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a buffer, which would keep what a full disk refuses and write it later.
        self._file = path.open("ab", buffering=0)
        try:
            _lock(self._file, path, wait)
        except BaseException:
            self._file.close()
            raise
        _cut_torn_line(path)
        self._path = path
        self._places: dict[str, Place] = {}
        for part in sorted(path.parent.glob("*.jsonl")):
            self._places.update(_places(part))

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def get(self, key: str) -> dict[str, JsonValue] | None:
        """The record of a finished chain.

        Raises
        ------
        DamagedFile
            If the file was changed since the store was opened.
        """
        if key not in self._places:
            return None
        path, start, length = self._places[key]
        with path.open("rb") as file:
            file.seek(start)
            line = file.read(length)
        if key.encode() not in line or not line.endswith(b"\n"):
            raise DamagedFile(f"{path}: changed since this job opened it; run the job again")
        record: dict[str, JsonValue] = json.loads(line)
        return record

    def add(self, record: Mapping[str, JsonValue]) -> None:
        """Append a finished chain; it is on disk when this returns.

        Raises
        ------
        OSError
            Naming the file and the way out if the disk is full. What was written of the record is
            cut off when the store is next opened.
        """
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        with naming(self._path):
            written = self._file.write(line)
            while written < len(line):
                written += self._file.write(line[written:])
            os.fsync(self._file.fileno())
        self._places[str(record["key"])] = Place(
            self._path, self._file.tell() - len(line), len(line)
        )

    def close(self) -> None:
        """Release the file."""
        self._file.close()


class StoreByShard:
    """The chain stores of several shards as one: a chain is in that of its problem's shard.

    Without ``wait`` it raises `Busy` where one of them is, and has then locked none.
    """

    def __init__(
        self, shards: Iterable[tuple[Iterable[Problem], Path]], *, wait: bool = True
    ) -> None:
        self._stores: list[ChainStore] = []
        self._by_problem: dict[str, ChainStore] = {}
        try:
            for problems, path in shards:
                self._stores.append(ChainStore(path, wait=wait))
                self._by_problem |= {p.unique_id: self._stores[-1] for p in problems}
        except BaseException:
            self.close()
            raise

    def __contains__(self, key: str) -> bool:
        return any(key in store for store in self._stores)

    def get(self, key: str) -> dict[str, JsonValue] | None:
        """The record of a key, or None; raises as `ChainStore.get` does."""
        return next((store.get(key) for store in self._stores if key in store), None)

    def add(self, record: Mapping[str, JsonValue]) -> None:
        """Append a finished chain to its shard's store; raises as `ChainStore.add` does."""
        self._by_problem[str(record["problem_id"])].add(record)

    def close(self) -> None:
        """Release the files."""
        for store in self._stores:
            store.close()


def records_of(
    store: ChainStore | StoreByShard, keys: Iterable[str], labels: Mapping[str, str]
) -> Iterator[AnswerRecord]:
    """The records of some keys that are in the store, labelled with where they belong."""
    for key in keys:
        yield AnswerRecord.model_validate(store.get(key)).model_copy(update=labels)


def _lock(file: BinaryIO, path: Path, wait: bool) -> None:
    """Be the only writer of a file until it is closed, or the process ends, however it ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise Busy(f"{path}: another job is writing to it") from None
        log.warning("%s: another job is writing to it; waiting until that one has ended", path)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        # Some cluster file systems have none. Snakemake's own lock is then the only one, and which
        # stores its jobs are at nobody knows.
        if not wait:
            raise Busy(f"{path}: cannot be locked") from None
        log.warning("%s: cannot be locked (%s); run this study once at a time", path, error)


def _cut_torn_line(path: Path) -> None:
    """Cut off what an interrupted write left at the end of a file."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        number = content.count(b"\n") + 1
        log.warning("%s, line %d: torn by an interruption; dropped", path, number)
        os.truncate(path, whole)


def _places(path: Path) -> Iterator[tuple[str, Place]]:
    """The whole records of a file; damaged lines are passed over, with a warning."""
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                # What follows the last line break is being written by another job.
                if line.endswith(b"\n"):
                    yield _key(path, number, line), Place(path, start, len(line))
            except DamagedFile as error:
                log.warning("%s; that chain will be run again", error)
            start += len(line)


def _key(path: Path, number: int, line: bytes) -> str:
    key = parse_line(path, number, line).get("key")
    if not isinstance(key, str):
        raise DamagedFile(f"{path}, line {number}: no key")
    return key
