"""A worker process of the pool: one line of JSON in, two lines out.

In comes ``[answer, gold]``; out goes the primary verdict as soon as there is one, and then the
second opinion, so that the first is not lost when the second does not end. Before the first pair a
line says that the worker is ready. Knows nothing about the pool: it is started as
``python -m powerblend.graders.mathematics.worker SECONDS`` and ends with its input.
"""

import contextlib
import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from powerblend.graders.mathematics.equivalence import grade
from powerblend.graders.mathematics.second_opinion import second_opinion

MEMORY_BYTES = 2 * 2**30
"""What a worker may hold: the power towers of some answers would take all there is."""

Primary = Callable[[str, str], bool]
Second = Callable[[str, str], bool | None]


def serve(seconds: float, primary: Primary = grade, second: Second = second_opinion) -> None:
    """Grade the pairs of standard input until it ends.

    A pair may take ``seconds`` of processor time; then the kernel ends the process, whatever it is
    doing, and whether or not there still is a pool to do it.
    """
    send = _replies()
    gc.freeze()  # looking through the libraries again and again takes a fifth of the time
    gc.set_threshold(100_000, 50, 100)
    send("ready")
    for line in sys.stdin:
        answer, gold = json.loads(line)
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        send(primary(answer, gold))
        send(_asked(second, answer, gold))
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _asked(second: Second, answer: str, gold: str) -> bool | None:
    try:
        return second(answer, gold)
    except Exception:  # another's library on hostile input: no opinion
        return None


def _replies() -> Callable[[Any], None]:
    """Reserve standard output for replies: what a library prints goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(message: Any) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    return send


def main() -> None:
    """Serve with limited memory."""
    with contextlib.suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    serve(float(sys.argv[1]))


if __name__ == "__main__":
    main()
