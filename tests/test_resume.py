"""Nothing is lost and nothing is done twice: interruptions of a generate job."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import tiny
from powerblend.engine import REVISION
from powerblend.study.store import ChainStore
from small_study import environment, problems, run

SPEC = {
    "engine": REVISION,
    "model": {"name": "model", "revision": None, "dtype": "float64"},
    "dataset": {},
    "prompt": {"system": None, "template": "{problem}", "shots": [], "chat_template": {}},
    "seed": 7,
    "decoding": {
        "sampler": "power",
        "alpha": 2.0,
        "max_new_tokens": 64,
        "blocks": 8,
        "steps": 4,
        "blend": {"source": "layer", "layer": 1, "beta": 0.1},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resume")
    tiny.save(path / "model")
    (path / "all.jsonl").write_text("".join(json.dumps(p) + "\n" for p in shard()))
    return path


def shard() -> list[dict[str, Any]]:
    keys = ("problem", "answer", "subject", "level", "unique_id")
    return [{key: problem[key] for key in keys} for problem in problems(24)]


def command(name: str, *options: str, data: str = "all.jsonl") -> list[str]:
    return [
        *(sys.executable, "-m", "powerblend", "generate", "--spec", json.dumps(SPEC)),
        *("--model", "model", "--problems", data, "--store", f"{name}/chains/shard.jsonl"),
        *("--output", f"{name}/out.jsonl", "--rows", "5", *options),
    ]


def records(path: Path) -> list[dict[str, Any]]:
    """Records without the one field that is not determined.

    In float64 the tokens and the decisions are equal to the bit whatever shares the batch, while
    sums of log-probabilities may differ in their last digits.
    """
    rows = [json.loads(line) for line in path.open()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def nearly(value: Any) -> Any:
    """The value, with a tolerance for every float in it."""
    if isinstance(value, list):
        return [nearly(entry) for entry in value]
    if isinstance(value, dict):
        return {key: nearly(entry) for key, entry in value.items()}
    return pytest.approx(value, abs=1e-9) if isinstance(value, float) else value


@pytest.fixture(scope="module")
def whole(folder: Path) -> list[dict[str, Any]]:
    """The records of a run that nothing interrupted."""
    run(*command("whole"), cwd=folder)
    expected: list[dict[str, Any]] = nearly(records(folder / "whole" / "out.jsonl"))
    return expected


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_job_continues(
    folder: Path, whole: list[dict[str, Any]], stop: signal.Signals
) -> None:
    store = folder / stop.name / "chains" / "shard.jsonl"
    job = subprocess.Popen(command(stop.name), cwd=folder, env=environment())
    while not store.exists() or store.read_bytes().count(b"\n") < 3:
        assert job.poll() is None, "the job ended before it could be interrupted"
        time.sleep(0.005)
    os.kill(job.pid, stop)
    assert job.wait() != 0
    kept = store.read_bytes().count(b"\n")
    assert 3 <= kept < 24
    assert not (folder / stop.name / "out.jsonl").exists()

    output = run(*command(stop.name), cwd=folder).stdout
    assert f"{kept} of 24 chains are in the store" in output
    assert records(folder / stop.name / "out.jsonl") == whole
    keys = [row["key"] for row in records(store)]
    assert len(keys) == len(set(keys)) == 24


def test_rows_do_not_matter(folder: Path, whole: list[dict[str, Any]]) -> None:
    run(*command("rows", "--rows", "24"), cwd=folder)
    assert records(folder / "rows" / "out.jsonl") == whole


def test_shards_and_their_order_do_not_matter(folder: Path, whole: list[dict[str, Any]]) -> None:
    tokens = {}
    for index in range(2):
        part = shard()[index::2][::-1]
        (folder / f"{index}.jsonl").write_text("".join(json.dumps(p) + "\n" for p in part))
        run(*command(f"part{index}", data=f"{index}.jsonl"), cwd=folder)
        for row in records(folder / f"part{index}" / "out.jsonl"):
            tokens[row["problem_id"]] = (row["key"], row["tokens"])
    assert tokens == {row["problem_id"]: (row["key"], row["tokens"]) for row in whole}


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
