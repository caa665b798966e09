"""What runs in a worker process of the pool: one grader on one pair, with limited means.

Knows nothing about the pool and imports no computer algebra by itself: the graders are handed to
it, or imported when they are first asked.
"""

import contextlib
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from pebble import CONSTS

from powerblend.graders.base import Judgement

MEMORY_BYTES = 2 * 2**30
"""What a worker may hold: the power towers of some answers would take all there is."""

Grader = Callable[..., Any]
"""From an answer, the reference and, if it wants it, the problem's text to what it thinks."""


def start(channel_seconds: float, *graders: Grader) -> None:
    """Make this process a worker; ``graders`` are only to be imported before the first pair.

    For ``channel_seconds`` it waits for others to leave the way that tasks and results go.

    What a library prints goes to standard error, where it is no reply to anybody.
    """
    if sys.flags.hash_randomization:
        raise RuntimeError("PYTHONHASHSEED is not 0: orders, hence verdicts, would vary")
    with contextlib.suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    os.dup2(2, 1)
    CONSTS.channel_lock_timeout = channel_seconds
    gc.freeze()  # looking through the libraries again and again takes a fifth of the time
    gc.set_threshold(100_000, 50, 100)


def ready() -> bool:
    """Say that a worker runs."""
    return True


def judge(grader: Grader, arguments: tuple[str, ...], seconds: float) -> Any:
    """What a grader thinks, within ``seconds`` of processor time.

    The kernel ends the process after that, whatever it is doing, and whether or not there still is
    a pool to do it.
    """
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        return grader(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def primary(answer: str, gold: str, problem: str) -> Judgement:
    """The judgement of our own grader."""
    from powerblend.graders.mathematics.equivalence import explain

    return explain(answer, gold, problem)


def second(answer: str, gold: str) -> bool | None:
    """The opinion of Math-Verify, None where it has none."""
    from powerblend.graders.mathematics.second_opinion import second_opinion

    try:
        return second_opinion(answer, gold)
    except Exception:  # another's library on hostile input
        return None
