"""A limit to computation that is no clock: a block may make so many calls, and then it ends.

Computer algebra has inputs of one line that keep it busy for a day, and no option against it.
Counting calls ends it at the same point everywhere, so that what it finds does not depend on the
machine or on what else runs there. Knows nothing about what is computed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import CO_GENERATOR
from types import FrameType
from typing import Any


class OutOfBudgetError(BaseException):
    """Not an ``Exception``: libraries that catch those would carry on without a limit."""


@contextmanager
def budget(calls: int) -> Iterator[None]:
    """Raise ``OutOfBudgetError`` in the block after so many calls and returns of functions."""
    left = calls

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        left -= 1
        # A generator may be running only to be closed, where what it raises is lost, and this
        # function is then not called again: the next ordinary call is soon enough.
        if left < 0 and event == "call" and not frame.f_code.co_flags & CO_GENERATOR:
            raise OutOfBudgetError

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)
