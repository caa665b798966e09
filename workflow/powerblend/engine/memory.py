"""How many chains fit at once: the automatic choice of rows, and what counts as out of memory."""

import logging
from typing import Protocol

import psutil
import torch

log = logging.getLogger(__name__)

USABLE_MEMORY_SHARE = 0.8
"""Share of the free memory to fill, to leave room for activations and for other programs."""

MAX_ROWS = {"cuda": 256, "cpu": 64}
"""Rows beyond which the time of a step grows as fast as its rows do (benchmarks/step.py)."""

OUT_OF_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""What the CPU's allocator, the CUDA driver and its libraries say, beside torch's own error."""


class Sized(Protocol):
    """A model that knows what a row costs."""

    device: torch.device

    def row_bytes(self, capacity: int) -> int:
        """Memory of one row of ``capacity`` tokens."""


def decide_rows(model: Sized, capacity: int, share: float = USABLE_MEMORY_SHARE) -> int:
    """As many rows of ``capacity`` tokens as a share of the free memory holds, at least 1.

    At most `MAX_ROWS`. The capacity is to include what is copied of a row.
    """
    free = free_bytes(model.device)
    rows = int(share * free / model.row_bytes(capacity))
    chosen = max(1, min(rows, MAX_ROWS[model.device.type]))
    log.info("%d rows of up to %d tokens: %.1f GiB are free", chosen, capacity, free / 2**30)
    return chosen


def free_bytes(device: torch.device) -> int:
    """Free memory of a device, in bytes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what torch has kept of freed memory is free
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not get memory, on a GPU or on the CPU."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(m in said for m in OUT_OF_MEMORY)
