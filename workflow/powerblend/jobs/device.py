"""Where a job of the model computes: its threads, and a GPU of its own if it is to have one."""

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from powerblend.infrastructure.devices import leased_gpu, placement

log = logging.getLogger(__name__)


@contextmanager
def on_device(options: argparse.Namespace) -> Iterator[None]:
    """Compute on ``options.device``, with ``options.threads`` threads."""
    with leased_gpu() if options.device == "cuda" else nullcontext():
        log.info("runs on %s", placement(options.device))
        import torch
        import transformers

        # Its bar for reading weights would hide the one that matters.
        transformers.utils.logging.disable_progress_bar()
        torch.set_num_threads(options.threads)
        yield
