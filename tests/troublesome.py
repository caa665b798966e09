"""Graders that hang, die or kill their worker when an answer says so, for tests of the pool.

The reference is a folder, where they write down what they were asked.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from pebble.pool.process import process_tasks

from powerblend.graders.base import Judgement


def primary(answer: str, gold: str, problem: str) -> Judgement:
    """Right is an answer that begins with "right"."""
    with (Path(gold) / "log").open("a") as log:
        print(answer, file=log)
    print("chatter on standard output")
    _trouble(answer, Path(gold), "primary")
    return Judgement(answer.startswith("right"), None)


def second(answer: str, gold: str) -> bool:
    """Agree, or get into the trouble that an answer asks the second opinion for."""
    _trouble(answer, Path(gold), "second")
    return answer.startswith("right")


def seed(answer: str, gold: str, problem: str) -> Judgement:
    """Whether hashes, hence orders, are those of every other worker."""
    return Judgement(sys.flags.hash_randomization == 0, None)


def memory(answer: str, gold: str) -> bool:
    """Whether a worker may not hold more than it should."""
    try:
        return not bytearray(3 * 2**30)
    except MemoryError:
        return True


def _trouble(answer: str, folder: Path, place: str) -> None:
    first = folder / "first"
    if f"{place} is killed at first" in answer and not first.exists():
        first.touch()
        if "holding the channel" in answer:
            _hold_the_channel()
        os.kill(os.getpid(), signal.SIGKILL)
    if f"{place} is always killed" in answer:
        os.kill(os.getpid(), signal.SIGKILL)
    if f"{place} exits" in answer:
        os._exit(3)
    time.sleep(0.01 * ("slow" in answer))
    while f"{place} spins" in answer:
        pass
    if f"{place} sleeps" in answer:
        time.sleep(600)
    if f"{place} raises" in answer:
        raise ValueError("trouble")


def _hold_the_channel() -> None:
    """Take pebble's locks for tasks and results, as a worker does for moments, and keep them."""
    frame: FrameType | None = sys._getframe()
    while frame and frame.f_code is not process_tasks.__code__:
        frame = frame.f_back
    assert frame
    assert frame.f_locals["channel"].mutex.acquire(block=False)
