"""SIGTERM and Ctrl-C: both end a job in one line, and neither finds a write half done."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Never


class Terminated(KeyboardInterrupt):
    """SIGTERM, a cluster's warning before it kills: ends a job the way that Ctrl-C does."""


def heed_sigterm() -> None:
    """Raise `Terminated` in the main thread when SIGTERM comes."""

    def terminate(*_: Any) -> Never:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)


@contextmanager
def held_back() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C wait until the block is done. Must be in the main thread."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, _: came.append(caught))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
