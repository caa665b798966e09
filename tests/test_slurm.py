"""The study on a real SLURM: one node, eight GPUs that are none. Run it with `make test-slurm`.

The tiny model computes on the CPU, because the study's configuration says ``gpu: 0``; each generate
job asks SLURM for a GPU all the same, with ``--set-resources``, so that SLURM has some to hand out.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from small_study import ROOT, environment, problems, run, write_study

SCRIPTS = Path(__file__).parent / "slurm"
PROFILE = ROOT / "workflow" / "profiles" / "slurm"
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol")

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A SLURM of this module's own, from before its first test until after its last."""
    missing = [name for name in NEEDED if not shutil.which(name, path=f"/usr/sbin:{os.defpath}")]
    if missing or os.getuid() != 0:
        pytest.skip(f"needs root and slurm-wlm with munge (missing: {', '.join(missing)})")
    if not find_spec("snakemake_executor_plugin_slurm"):
        pytest.skip("needs snakemake-executor-plugin-slurm: pip install --editable '.[slurm]'")
    # Not pytest's tmp_path: munge refuses sockets in a folder that is closed to others.
    with tempfile.TemporaryDirectory(prefix="powerblend-slurm-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        try:
            run(str(SCRIPTS / "up.sh"), folder, "8", cwd=ROOT)
            yield
        finally:
            run(str(SCRIPTS / "down.sh"), folder, cwd=ROOT)


class Job(NamedTuple):
    """A running generate job, as SLURM sees it."""

    id: str
    shard: str
    gpu: str


def test_jobs_at_once_have_distinct_gpus(cluster: None, tmp_path: Path) -> None:
    study = small(tmp_path, count=8, shards=8, use=["greedy"])
    with snakemake(study, "generate:gpu=1") as workflow:
        seen = [running() for _ in until(lambda: workflow.poll() is not None)]
    output = (tmp_path / "output.txt").read_text()
    assert workflow.returncode == 0, output
    assert (tmp_path / "report" / "small.md").exists()

    assert max(map(len, seen)) >= 4
    for at_once in seen:
        assert len({job.gpu for job in at_once}) == len(at_once)
    jobs = set(itertools.chain.from_iterable(seen))
    assert sorted(job.shard for job in jobs) == [f"shard-{i}-of-8" for i in range(8)]
    for job in jobs:  # what SLURM says is what the job saw
        log = the_log(tmp_path, job.shard)
        assert "runs on cpu of " in log
        assert f"SLURM_JOB_ID={job.id}, CUDA_VISIBLE_DEVICES={job.gpu}\n" in log


def test_cancelled_and_requeued_jobs_resume(cluster: None, tmp_path: Path) -> None:
    """One job is cancelled, and Snakemake tries again; one is requeued by SLURM, as if preempted.

    GPUs are asked for as on clusters that know them as gres only.
    """
    slow = {"max_new_tokens": 64, "blocks": 8, "steps": 8}
    study = small(tmp_path, count=40, shards=2, use=["ps"], decoding=slow, resources={"rows": 1})
    stops = {"shard-0-of-2": ["scancel"], "shard-1-of-2": ["scontrol", "requeue"]}
    stopped: dict[str, str] = {}
    with snakemake(study, "generate:gres=gpu:fake:1") as workflow:
        for _ in until(lambda: workflow.poll() is not None):
            for job in running():
                if job.shard not in stopped and len(stored(tmp_path, job.shard)) >= 3:
                    run(*stops[job.shard], job.id, cwd=tmp_path)
                    stopped[job.shard] = job.id
    output = (tmp_path / "output.txt").read_text()
    assert workflow.returncode == 0, output

    assert stopped.keys() == stops.keys()
    for shard, first in stopped.items():
        keys = stored(tmp_path, shard)
        assert len(keys) == len(set(keys)) == 20
        log = the_log(tmp_path, shard)
        last, kept = re.findall(r"SLURM_JOB_ID=(\d+)|(\d+) of 20 chains are in the store", log)
        assert (last[0] == first) == (stops[shard] != ["scancel"])
        assert 3 <= int(kept[1]) < 20
    assert "Trying to restart job" in output


def running() -> list[Job]:
    """The generate jobs that have a GPU at this moment."""
    text = run("scontrol", "show", "job", "--details", "--oneliner", cwd=ROOT, check=False).stdout
    pattern = (
        r"JobId=(\d+) .* JobState=RUNNING .*\(IDX:(\d+)\).* Comment=rule_generate_\S*_(shard\S+)_1 "
    )
    return [Job(id, shard, gpu) for id, gpu, shard in re.findall(pattern, text)]


def the_log(folder: Path, shard: str) -> str:
    """The log of a shard's generate job, of its last attempt."""
    (path,) = folder.glob(f"results/small/logs/generate/*/{shard}x1.log")
    return path.read_text()


def stored(folder: Path, shard: str) -> list[str]:
    """The keys in a shard's chain store."""
    paths = folder.glob(f"results/small/chains/*/{shard}.jsonl")
    return [
        json.loads(line)["key"] for path in paths for line in path.open() if line.endswith("\n")
    ]


def until(happened: Callable[[], bool]) -> Iterator[None]:
    """A few times a second, until something has happened."""
    while not happened():
        yield
        time.sleep(0.3)


def small(folder: Path, count: int, shards: int, **changes: Any) -> Path:
    """A study of so many problems in so many shards."""
    path = write_study(folder, shards={"of": shards, "use": list(range(shards))}, **changes)
    lines = "".join(json.dumps(problem) + "\n" for problem in problems(count))
    (folder / "problems.jsonl").write_text(lines)
    return path


def snakemake(study: Path, *resources: str) -> "subprocess.Popen[bytes]":
    """The workflow with the project's profile, in the study's folder; prints to ``output.txt``."""
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--profile", str(PROFILE), "--configfile", str(study), "--set-resources", *resources),
    ]
    with (study.parent / "output.txt").open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=study.parent,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
