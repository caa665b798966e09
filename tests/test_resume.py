"""Nothing is lost and nothing is done twice: interruptions of a generate job."""

import itertools
import json
import logging
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import specs
import tiny
import warm
from equality import nearly, untimed
from powerblend import load_model
from powerblend.infrastructure.interrupts import Terminated, heed_sigterm, held_back
from powerblend.study.answers import answer
from powerblend.study.problems import read_problems
from powerblend.study.store import ChainStore
from powerblend.vocabulary.problem import Problem
from small_study import problems

SPEC = specs.cell(
    {
        "sampler": "power",
        "alpha": 2.0,
        "max_new_tokens": 16,
        "blocks": 4,
        "steps": 2,
        "blend": {"source": "layer", "layer": 0, "beta": 0.1},
    },
    seed=7,
)
CHAINS = 16

ENDINGS = {
    signal.SIGKILL: ({-9}, ""),
    # Before the command has begun, a signal does what it does to any program.
    signal.SIGTERM: ({143, -15}, "terminated; what was finished is kept"),
    signal.SIGINT: ({130, 1}, "interrupted; what was finished is kept"),
    "full disk": ({1}, "cannot be written (File too large); free space there and run the same"),
}
"""Ways to end a job: its exit codes, and what it says if the first of them is its own."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resume")
    tiny.save(path / "model", num_hidden_layers=2)
    specs.written(SPEC, path / "spec.json")
    (path / "all.jsonl").write_text("".join(json.dumps(p) + "\n" for p in shard()))
    return path


def shard() -> list[dict[str, Any]]:
    keys = ("problem", "answer", "subject", "level", "unique_id")
    return [{key: problem[key] for key in keys} for problem in problems(CHAINS)]


def command(name: str, *options: str, data: str = "all.jsonl") -> list[str]:
    return [
        *("generate", "--spec", "spec.json"),
        *("--model", "model", "--problems", data, "--store", f"{name}/chains/shard.jsonl"),
        *("--output", f"{name}/out.jsonl", "--rows", "4", *options),
    ]


def records(path: Path) -> list[dict[str, Any]]:
    """Records without the one field that is not determined."""
    with path.open() as file:
        return [untimed(json.loads(line)) for line in file]


@pytest.fixture(scope="module")
def whole(folder: Path) -> list[dict[str, Any]]:
    """The records of a run that nothing interrupted."""
    warm.run(*command("whole"), cwd=folder)
    return nearly(records(folder / "whole" / "out.jsonl"))


def lines(store: Path) -> int:
    return store.read_bytes().count(b"\n") if store.exists() else 0


class Job:
    """A generate job that is started again and again, each time ended at a random moment."""

    def __init__(self, folder: Path, name: str, moments: random.Random) -> None:
        self.folder, self.name, self.moments = folder, name, moments
        self.store = folder / name / "chains" / "shard.jsonl"
        self.starts = 0
        self.ended: list[Any] = []

    def go_on(self, ending: Any) -> bool:
        """Start the job and end it, unless it comes to its own end before; whether it did."""
        kept = lines(self.store)
        self.starts += 1
        log = self.folder / f"{self.name}-{self.starts}.log"
        room = self.store.stat().st_size if self.store.exists() else 0
        full = ending == "full disk"
        largest = room + self.moments.randrange(1000, 3000) if full else None
        job = warm.start(*command(self.name), cwd=self.folder, log=log, largest=largest)
        if not full:
            self._wait(job, kept + self.moments.randrange(3))
            with suppress(ProcessLookupError):
                os.kill(job.pid or 0, ending)
        job.join()
        printed = log.read_text() if log.exists() else ""
        if job.exitcode != 0:
            self._check(ending, job.exitcode, printed)
        if "chains are in the store" in printed:
            assert f"{kept} of {CHAINS} chains are in the store" in printed
        return job.exitcode == 0

    def _wait(self, job: Any, count: int) -> None:
        """Until the store has so many chains, and a random moment longer."""
        while lines(self.store) < count and job.is_alive():
            time.sleep(0.001)
        time.sleep(self.moments.uniform(0, 0.4 if count == 0 else 0.03))

    def _check(self, ending: Any, code: int, printed: str) -> None:
        self.ended.append(ending)
        codes, sentence = ENDINGS[ending]
        assert code in codes, printed
        if code in (130, 143) or ending == "full disk":
            assert sentence in printed
            assert "Traceback" not in printed
        assert not (self.folder / self.name / "out.jsonl").exists()


@pytest.mark.parametrize("interruptions", [8, pytest.param(24, marks=pytest.mark.slow)])
def test_random_interruptions_lose_nothing_and_repeat_nothing(
    folder: Path, whole: list[dict[str, Any]], interruptions: int
) -> None:
    moments, endings = random.Random(6), itertools.cycle(ENDINGS)
    ended: list[Any] = []
    names = map(f"interrupted-{interruptions}-{{}}".format, itertools.count())
    while len(ended) < interruptions:
        name = next(names)
        job = Job(folder, name, moments)
        while not job.go_on(next(endings)):
            pass
        ended += job.ended
        assert records(folder / name / "out.jsonl") == whole
        keys = [row["key"] for row in records(job.store)]
        assert len(keys) == len(set(keys)) == CHAINS
    assert set(ended) == set(ENDINGS)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for some of the chains."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", str(path)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_full_disk_is_named_and_room_is_all_it_needs(
    folder: Path, disk: Path, whole: list[dict[str, Any]]
) -> None:
    arguments = ["--log", f"{disk}/log", *command(str(disk))]
    text = warm.run(*arguments, cwd=folder, check=False)
    (sentence,) = [line for line in text.splitlines() if "error" in line]
    assert f"{disk}/chains/shard.jsonl: cannot be written (No space left on device); " in sentence
    assert "exit code 1" in text
    assert "Traceback" not in text
    kept = lines(disk / "chains" / "shard.jsonl")
    assert 0 < kept < CHAINS

    subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
    warm.run(*arguments, cwd=folder)
    assert f"{kept} of {CHAINS} chains are in the store" in (disk / "log").read_text()
    assert records(disk / "out.jsonl") == whole


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_for_a_write(stop: signal.Signals) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    heed_sigterm()
    written = []

    def write() -> None:
        with held_back():
            os.kill(os.getpid(), stop)
            written.append("whole")

    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            write()
        assert written == ["whole"]
        assert (caught.type is Terminated) == (stop == signal.SIGTERM)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_rows_do_not_matter(folder: Path, whole: list[dict[str, Any]]) -> None:
    warm.run(*command("rows", "--rows", str(CHAINS)), cwd=folder)
    assert records(folder / "rows" / "out.jsonl") == whole


def test_shards_and_their_order_do_not_matter(folder: Path, whole: list[dict[str, Any]]) -> None:
    tokens = {}
    for index in range(2):
        part = shard()[index::2][::-1]
        (folder / f"{index}.jsonl").write_text("".join(json.dumps(p) + "\n" for p in part))
        warm.run(*command(f"part{index}", data=f"{index}.jsonl"), cwd=folder)
        for row in records(folder / f"part{index}" / "out.jsonl"):
            tokens[row["problem_id"]] = (row["key"], row["tokens"])
    assert tokens == {row["problem_id"]: (row["key"], row["tokens"]) for row in whole}


POWER = {"sampler": "power", "alpha": 2.0, "max_new_tokens": 6, "blocks": 2, "steps": 1}
KERNELS = {
    "tries": POWER | {"tries": 2, "cut": "entropy"},
    "ladder": POWER | {"ladder": [1.5]},
    "csmc": {
        **{"sampler": "particles", "alpha": 2.0, "max_new_tokens": 6, "blocks": 2},
        **{"particles": 2, "sweeps": 2},
    },
}


class Ending(ChainStore):
    """A store in which the job ends with every second answer."""

    added = 0

    def add(self, record: dict[str, Any]) -> None:
        super().add(record)
        self.added += 1
        if self.added == 2:
            raise Terminated


@pytest.mark.parametrize("kernel", KERNELS)
def test_answers_of_several_strings_are_kept_whole(
    kernel: str, folder: Path, tmp_path: Path
) -> None:
    """Through interruptions, and in shards done backwards."""
    spec = specs.cell(KERNELS[kernel], seed=7)
    model = load_model(folder / "model", dtype="float64")
    given = read_problems(folder / "all.jsonl")[:6]

    def run(store: ChainStore, problems: Sequence[Problem] = given) -> list[dict[str, Any]]:
        how: Any = {"labels": {}, "samples": 1, "rows": 4, "store": store}
        return [untimed(r.model_dump()) for r in answer(spec, model, problems, **how)]

    expected = nearly(run(ChainStore(tmp_path / "whole" / "a.jsonl")))
    for _ in range(3):
        with pytest.raises(Terminated):
            run(Ending(tmp_path / "ended" / "a.jsonl"))
    assert lines(tmp_path / "ended" / "a.jsonl") == len(given)
    assert run(ChainStore(tmp_path / "ended" / "a.jsonl")) == expected
    odd, even = (
        run(ChainStore(tmp_path / f"{shard}" / "a.jsonl"), given[shard::2][::-1])[::-1]
        for shard in (1, 0)
    )
    assert [*even, *odd] == [*expected[::2], *expected[1::2]]


def test_a_torn_line_is_dropped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.jsonl"
    path.write_bytes(b'{"key": "a", "n": 1}\n{"key": "b", "n": 2}\n{"key": "c", "n"')
    with caplog.at_level(logging.WARNING):
        store = ChainStore(path)
    assert "store.jsonl, line 3: torn by an interruption; dropped" in caplog.text
    store.add({"key": "c", "n": 3})
    store.close()
    again = ChainStore(path)
    assert [again.get(key) for key in "abc"] == [
        {"key": k, "n": n} for k, n in zip("abc", (1, 2, 3), strict=True)
    ]


def test_a_damaged_line_is_named_and_run_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.jsonl"
    path.write_bytes(b'{"key": "a"}\n\xff\xfe\n{"no": "key"}\n{"key": "b"}\n')
    with caplog.at_level(logging.WARNING):
        store = ChainStore(path)
    assert "store.jsonl, line 2: not JSON in UTF-8" in caplog.text
    assert store.get("a")
    assert store.get("b")


def test_a_store_is_read_across_shards(tmp_path: Path) -> None:
    ChainStore(tmp_path / "shard-0-of-2.jsonl").add({"key": "a"})
    assert ChainStore(tmp_path / "shard-0-of-1.jsonl").get("a") == {"key": "a"}
