"""Ten times `kill -9` of everything, at moments nobody chose: the same command goes on.

Takes minutes (`make test-slow`).
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from equality import nearly, untimed
from small_study import ROOT, environment, write_study

KILLS = 10
COMMAND = [
    *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
    *("--cores", "2", "--configfile", "study.yaml", "--until", "grade"),
]

pytestmark = pytest.mark.slow


def test_ten_kills_of_the_whole_tree_lose_nothing(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        # One model and one dataset: the paths of both are part of the cells.
        write_study(tmp_path, shards={"of": 2, "use": [0, 1]}, use=["greedy", "ps"])
        (folder / "study.yaml").write_text((tmp_path / "study.yaml").read_text())
    begun = time.monotonic()
    subprocess.run(COMMAND, cwd=whole, env=environment(), check=True)
    seconds = time.monotonic() - begun

    moments = random.Random(1)
    for _ in range(KILLS):
        run = subprocess.Popen(COMMAND, cwd=killed, env=environment(), start_new_session=True)
        try:
            run.wait(moments.uniform(0.1, 0.6) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    subprocess.run(COMMAND, cwd=killed, env=environment(), check=True)
    found, expected = records(killed), records(whole)
    assert found.keys() == expected.keys() != set()
    for path in expected:
        assert found[path] == nearly(expected[path])


def records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Every record that was generated, by its file, without the time that it took."""
    files = sorted(folder.glob("results/small/generate/*/*.jsonl"))
    return {
        str(path.relative_to(folder)): [untimed(json.loads(line)) for line in path.open()]
        for path in files
    }
