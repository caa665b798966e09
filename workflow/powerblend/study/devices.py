"""One GPU per job: a lease on a physical device, held by a file lock.

Snakemake counts GPUs but does not say which. The kernel frees a lock when its process ends, however
it ends, so a killed job never keeps a device. Under a cluster's scheduler, which hands out devices
itself, this steps aside.
"""

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def leased_gpu(wait: float = 1.0) -> Iterator[None]:
    """Make one free GPU the only one that this process sees, for as long as the context lasts.

    Must be entered before torch starts CUDA. Waits, polling every ``wait`` seconds, while all are
    leased.
    """
    devices = [] if "SLURM_JOB_ID" in os.environ else visible_gpus()
    if not devices:
        yield
        return
    device, lock = _take_one(devices, wait)
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    os.environ["CUDA_VISIBLE_DEVICES"] = device
    try:
        yield
    finally:
        os.close(lock)


def visible_gpus() -> list[str]:
    """Physical ids of the GPUs that this process may use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [device.strip() for device in named.split(",") if device.strip()]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []


def _take_one(devices: list[str], wait: float) -> tuple[str, int]:
    folder = Path(tempfile.gettempdir()) / f"powerblend-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        for device in devices:
            lock = os.open(folder / f"{device.replace('/', '_')}.lock", os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return device, lock
            except BlockingIOError:
                os.close(lock)
        time.sleep(wait)
