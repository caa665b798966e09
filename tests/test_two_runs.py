"""Two runs of one study at once: the second is refused, or shares, and no record is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import specs
from powerblend.study.cells import cells_of
from powerblend.study.layout import Layout
from powerblend.study.problems import load_problems, write_problems
from powerblend.study.store import ChainStore
from small_study import ROOT, environment, parsed, snakemake, write_study

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program in the test's folder, in the background."""
    runs: list[subprocess.Popen[bytes]] = []

    def begin(*command: str, **options: int) -> "subprocess.Popen[bytes]":
        run = [sys.executable, *command]
        runs.append(subprocess.Popen(run, cwd=tmp_path, env=environment(), **options))
        return runs[-1]

    yield begin
    for run in runs:
        run.kill()
        run.wait()


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path, start: Start) -> None:
    study = write_study(tmp_path)
    config = Layout(parsed(study)).config
    target = ["--configfile", str(study), "--", str(config)]
    first = start("-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores=1", *target)
    until(lambda: any(tmp_path.glob(".snakemake/locks/*")), first)
    first.send_signal(signal.SIGSTOP)
    refused = snakemake(study, "--", str(config), check=False)
    assert "LockException" in refused
    assert "Directory cannot be locked" in refused
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0
    assert json.loads((tmp_path / config).read_text())["study"] == "small"


def test_two_jobs_with_one_store_run_no_chain_twice(tmp_path: Path, start: Start) -> None:
    """As with ``--nolock``, or from two folders whose results are one."""
    first = start(*generate_command(tmp_path, "first"))
    store, log = tmp_path / "chains" / "shard.jsonl", tmp_path / "second.log"
    until(lambda: b"\n" in content(store), first)
    first.send_signal(signal.SIGSTOP)
    second = start(*generate_command(tmp_path, "second"))
    until(lambda: b"shard.jsonl: another job is writing to it; waiting" in content(log), second)
    first.send_signal(signal.SIGCONT)
    assert (first.wait(), second.wait()) == (0, 0)

    assert b"6 of 6 chains are in the store" in content(log)
    keys = [json.loads(line)["key"] for line in store.open()]
    assert len(set(keys)) == len(keys) == 6
    assert content(tmp_path / "first.jsonl") == content(tmp_path / "second.jsonl") != b""


def test_a_killed_writer_leaves_its_store_to_the_next(tmp_path: Path, start: Start) -> None:
    holder = start("-c", HOLDER, "store.jsonl", stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline() == b"has it\n"
    os.kill(holder.pid, signal.SIGKILL)
    assert ChainStore(tmp_path / "store.jsonl").get("a") == {"key": "a"}
    holder.stdout.close()


HOLDER = """
import sys, time
from pathlib import Path
from powerblend.study.store import ChainStore

store = ChainStore(Path(sys.argv[1]))
store.add({"key": "a"})
print("has it", flush=True)
time.sleep(600)
"""


def generate_command(folder: Path, name: str) -> list[str]:
    """A generate job of six chains, slow enough to be met at work."""
    slow = {"max_new_tokens": 64, "blocks": 8, "steps": 4}
    study = parsed(write_study(folder, use=["ps"], decoding=slow))
    write_problems(folder / "shard.jsonl", load_problems(study.dataset))
    return [
        *("-m", "powerblend", "--log", f"{name}.log", "generate"),
        *("--spec", specs.written(cells_of(study)["ps"].spec, folder / "spec.json")),
        *("--problems", "shard.jsonl", "--store", "chains/shard.jsonl"),
        *("--output", f"{name}.jsonl", "--rows", "1"),
    ]


def content(path: Path) -> bytes:
    """What a file holds, or nothing if it is not there yet."""
    return path.read_bytes() if path.exists() else b""


def until(happened: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    """Wait for something, while a process that should do it is running."""
    while not happened():
        assert process.poll() is None, "it ended too early"
        time.sleep(0.005)
