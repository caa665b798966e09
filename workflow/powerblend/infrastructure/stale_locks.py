"""Locks of Snakemake's that a killed run has left. Knows nothing of studies.

Snakemake locks a folder with files, which stay when it is killed. A run here also holds a lock of
the kernel's, which ends with its process, however that ends: where nobody holds one, no run is left
to be locked out.
"""

import fcntl
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import TextIO

SNAKEMAKE = Path(".snakemake")


def mark_alive() -> TextIO | None:
    """Mark the working directory as one of a live run, until the result is closed or lost.

    If no other run is alive, the locks that a killed one left are removed. Where locks of the
    kernel's cannot be had, or a run was started on another machine, nothing is removed.
    """
    try:
        SNAKEMAKE.mkdir(exist_ok=True)
        alive = (SNAKEMAKE / "alive").open("a+", encoding="utf-8")
        if _is_only_one(alive):
            _clear(alive)
        fcntl.flock(alive, fcntl.LOCK_SH)
        alive.write(f"{platform.node()}\n")
        alive.flush()
    except OSError:
        return None
    return alive


def _is_only_one(alive: TextIO) -> bool:
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _clear(alive: TextIO) -> None:
    """Remove what runs of this machine have left; another machine's kernel may be unheard here."""
    alive.seek(0)
    machines = set(alive.read().split())
    if machines - {platform.node()}:
        return
    if machines:
        for lock in (SNAKEMAKE / "locks").glob("*.lock"):
            with suppress(FileNotFoundError):
                lock.unlink()
    os.truncate(alive.fileno(), 0)
