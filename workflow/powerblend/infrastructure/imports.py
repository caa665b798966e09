"""Importing much at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """For imports that take seconds.

    None of what they make is garbage: looking for some among it, again and again while it grows and
    once more when the process ends, would take a third of a job's start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
