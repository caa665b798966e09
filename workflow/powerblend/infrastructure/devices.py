"""One GPU per job: a lease on a physical device, held by a file lock.

Snakemake counts GPUs but does not say which. The kernel frees a lock when its process ends, however
it ends, so a killed job never keeps a device. Where SLURM has chosen the job's one device, this
steps aside; a job that runs inside an allocation of several leases one of those.
"""

import fcntl
import logging
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

LOCKS = Path("/tmp")
"""Where the lock files are: shared by all users of a machine, whatever their TMPDIR says."""


class Gpu(NamedTuple):
    """A GPU, and the MIG instances that stand in for it where it is cut into some."""

    uuid: str
    instances: list[str]

    @property
    def devices(self) -> list[str]:
        """What CUDA computes on."""
        return self.instances or [self.uuid]


@contextmanager
def leased_gpu(wait: float = 1.0) -> Iterator[None]:
    """Make one free GPU the only one that this process sees, for as long as the context lasts.

    Must be entered before torch starts CUDA. Waits, polling every ``wait`` seconds, while all are
    leased. Without any GPU it does nothing: what asks for CUDA then fails.
    """
    devices = visible_gpus()
    if not devices or ("SLURM_JOB_ID" in os.environ and len(devices) == 1):
        yield
        return
    device, lock = _take_one(devices, wait)
    os.environ["CUDA_VISIBLE_DEVICES"] = device
    try:
        yield
    finally:
        os.close(lock)


def placement(device: str) -> str:
    """Where this process computes, for its log: device, machine, and what it was given."""
    names = ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES")
    given = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    return ", ".join([f"{device} of {platform.node()}", *given])


def visible_gpus() -> list[str]:
    """Ids of the GPUs, or of the MIG instances, that this process may use.

    They are UUIDs, the same in every process, where nvidia-smi knows them: ``CUDA_VISIBLE_DEVICES``
    may name one device as 0, as GPU-3f2a or in full. A number means what nvidia-smi means by it.
    """
    gpus = _physical_gpus()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [device for gpu in gpus for device in gpu.devices]
    names = [name.strip() for name in named.split(",") if name.strip()]
    return [device for name in names for device in _resolve(name, gpus)]


def _resolve(name: str, gpus: list[Gpu]) -> list[str]:
    """The devices that a name stands for; an unknown name stays as it is, for CUDA to refuse."""
    if name.isdigit():
        return gpus[int(name)].devices if int(name) < len(gpus) else [name]
    of_gpu = [device for gpu in gpus if gpu.uuid.startswith(name) for device in gpu.devices]
    return of_gpu or [i for gpu in gpus for i in gpu.instances if i.startswith(name)] or [name]


def _physical_gpus() -> list[Gpu]:
    """The machine's GPUs by their number, as nvidia-smi lists them."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    gpus: list[Gpu] = []
    for uuid in re.findall(r"\(UUID: ([^)]+)\)", listing.stdout):
        if uuid.startswith("MIG-"):
            gpus[-1].instances.append(uuid)
        else:
            gpus.append(Gpu(uuid, []))
    return gpus


def _take_one(devices: list[str], wait: float) -> tuple[str, int]:
    waiting = False
    while True:
        for device in devices:
            lock = _open(LOCKS / f"powerblend-gpu-{device.replace('/', '_')}.lock")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return device, lock
            except BlockingIOError:
                os.close(lock)
        if not waiting:
            log.info("waiting: other jobs have leased all of this job's %d GPUs", len(devices))
            waiting = True
        time.sleep(wait)


def _open(path: Path) -> int:
    """A file to lock, whichever user made it.

    In folders like /tmp, Linux refuses to open another user's file with O_CREAT
    (fs.protected_regular), and its owner alone may write it; a lock needs neither.
    """
    while True:
        try:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            _create(path)


def _create(path: Path) -> None:
    mask = os.umask(0o022)  # readable by all from the start
    try:
        with suppress(FileExistsError):  # another job was faster
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o644))
    finally:
        os.umask(mask)
