"""A GPU belongs to one job at a time, on a workstation as under SLURM, and is never made up."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from powerblend.infrastructure import devices
from small_study import environment, snakemake, write_study

EIGHT = ",".join(map(str, range(8)))

JOB = """
import logging, os, sys, time
from pathlib import Path
from powerblend.infrastructure import devices

logging.basicConfig(level=logging.INFO, format="%(message)s")
devices.LOCKS, device_folder, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
with devices.leased_gpu(wait=0.01):
    device = device_folder / os.environ["CUDA_VISIBLE_DEVICES"]
    device.mkdir()                      # fails where another job has it
    print(device.name, flush=True)
    while not (device_folder / "go").exists():
        time.sleep(0.005)
    time.sleep(seconds)
    device.rmdir()
"""

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa-0000)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccc-1111)
  MIG 3g.20gb     Device  1: (UUID: MIG-cccc-2222)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb-3333)
"""


class Machine:
    """Fake devices: a folder of locks, and one where jobs say which device they have."""

    def __init__(self, folder: Path) -> None:
        self.locks, self.taken = folder / "locks", folder / "taken"
        self.locks.mkdir()
        self.taken.mkdir()
        self.jobs: list[subprocess.Popen[str]] = []

    def start(
        self, seconds: float, visible: str = EIGHT, **variables: str
    ) -> "subprocess.Popen[str]":
        """A job that holds its device until ``go``, and for some seconds more."""
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, str(self.locks), str(self.taken), str(seconds)],
            env=environment() | {"CUDA_VISIBLE_DEVICES": visible} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.jobs.append(job)
        return job

    def go(self) -> None:
        (self.taken / "go").touch()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    fake = Machine(tmp_path)
    yield fake
    for job in fake.jobs:
        job.kill()
        job.wait()
        assert job.stdout
        job.stdout.close()


@pytest.fixture
def fake_locks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for locks like /tmp: anyone's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o1777)
        monkeypatch.setattr(devices, "LOCKS", Path(name))
        yield Path(name)


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stub of nvidia-smi, on the PATH."""
    stub = tmp_path / "bin" / "nvidia-smi"
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTING}END\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}:{os.environ['PATH']}")
    return stub.parent


def test_eight_jobs_at_once_have_eight_devices(machine: Machine) -> None:
    jobs = [machine.start(0.01) for _ in range(8)]
    assert sorted(map(next_line, jobs)) == EIGHT.split(",")
    machine.go()
    assert [job.wait() for job in jobs] == [0] * 8


def test_forty_jobs_never_share_one_of_eight(machine: Machine) -> None:
    machine.go()
    jobs = [machine.start(0.05) for _ in range(40)]
    seen = [job.communicate()[0].split("\n")[-2] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 40, seen
    assert set(seen) <= set(EIGHT.split(","))


def test_a_killed_job_frees_its_device_for_the_next(machine: Machine) -> None:
    jobs = {next_line(job): job for job in [machine.start(0.01) for _ in range(8)]}
    waiting = machine.start(0.01)
    assert next_line(waiting) == "waiting: other jobs have leased all of this job's 8 GPUs"
    jobs["5"].kill()
    jobs["5"].wait()
    (machine.taken / "5").rmdir()
    assert next_line(waiting) == "5"


def test_jobs_inside_one_allocation_share_it_out(machine: Machine) -> None:
    jobs = [machine.start(0.01, "4,5,6", SLURM_JOB_ID="12") for _ in range(3)]
    assert sorted(map(next_line, jobs)) == ["4", "5", "6"]


def test_a_device_that_slurm_chose_is_not_waited_for(
    fake_locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with devices.leased_gpu():
        monkeypatch.setenv("SLURM_JOB_ID", "12")
        with devices.leased_gpu():  # without SLURM this would wait for ever
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert "SLURM_JOB_ID=12, CUDA_VISIBLE_DEVICES=3" in devices.placement("cuda")


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["MIG-cccc-1111", "MIG-cccc-2222", "GPU-bbbb-3333"]),
        ("0,1", ["MIG-cccc-1111", "MIG-cccc-2222", "GPU-bbbb-3333"]),
        ("1", ["GPU-bbbb-3333"]),
        ("GPU-b", ["GPU-bbbb-3333"]),
        ("GPU-aaaa-0000", ["MIG-cccc-1111", "MIG-cccc-2222"]),
        ("MIG-cccc-2222, GPU-bbbb-3333", ["MIG-cccc-2222", "GPU-bbbb-3333"]),
        ("", []),
        ("7", ["7"]),
    ],
)
def test_a_device_has_one_name_however_it_is_given(
    visible: str | None, expected: list[str], smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.visible_gpus() == expected


def test_two_names_of_one_device_are_one_lease(machine: Machine, smi: Path) -> None:
    path = f"{smi}:{os.environ['PATH']}"
    assert next_line(machine.start(0.01, "1", PATH=path)) == "GPU-bbbb-3333"
    assert next_line(machine.start(0.01, "GPU-b", PATH=path)).startswith("waiting")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_users_of_one_machine_respect_each_other(
    fake_locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert as_user(4242, lambda: lease() == "0")
    with devices.leased_gpu():  # a file that the other user made
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        assert as_user(4242, lambda: lease() == "1")
        assert as_user(4343, lambda: lease() == "1")


@pytest.mark.slow
def test_a_job_that_was_promised_a_gpu_fails_loudly(tmp_path: Path) -> None:
    """Through the whole workflow: it leases what others left, and finds that there is no CUDA."""
    names = [f"fake-{os.getpid()}-{i}" for i in range(8)]
    study = write_study(tmp_path, use=["greedy"], shards={"use": [0]}, resources={"gpu": 1})
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        stack.callback(remove_locks, names)
        for name in names[:6]:  # another user's jobs
            patch.setenv("CUDA_VISIBLE_DEVICES", name)
            stack.enter_context(devices.leased_gpu())
        patch.setenv("CUDA_VISIBLE_DEVICES", ",".join(names))
        snakemake(study, "--resources", "gpu=8", check=False)
    (log,) = tmp_path.glob("results/small/logs/generate/*/*.log")
    text = log.read_text()
    assert any(f"CUDA_VISIBLE_DEVICES={name}\n" in text for name in names[6:])
    assert "error: a GPU was asked for, but torch finds no CUDA device" in text
    assert not list(tmp_path.glob("results/small/generate/*/*"))


@pytest.mark.parametrize(
    ("options", "device"),
    [
        (["--resources", "gpu=0"], "cpu"),
        (["--set-resources", "generate:gpu=0", "generate:gres=gpu:h100:1"], "cuda"),
    ],
)
def test_a_job_computes_where_it_was_given_to(
    options: list[str], device: str, tmp_path: Path
) -> None:
    study = write_study(tmp_path, use=["greedy"], resources={"gpu": 1})
    text = snakemake(study, "--dry-run", "--printshellcmds", *options)
    assert text.count(f"--device {device} ") == 2
    assert text.count("--device ") == 2


def next_line(job: "subprocess.Popen[str]") -> str:
    assert job.stdout
    return job.stdout.readline().strip()


def lease() -> str:
    with devices.leased_gpu():
        return os.environ["CUDA_VISIBLE_DEVICES"]


def as_user(uid: int, check: Callable[[], bool]) -> bool:
    """Whether a check holds when another user makes it, whose files nobody else may read."""
    child = os.fork()
    if child == 0:
        passed = False
        try:
            os.setuid(uid)
            os.umask(0o077)
            passed = check()
        finally:
            os._exit(0 if passed else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def remove_locks(names: Sequence[str]) -> None:
    for name in names:
        (devices.LOCKS / f"powerblend-gpu-{name}.lock").unlink(missing_ok=True)
