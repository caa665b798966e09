"""Both graders over many answers, in processes that may hang or die without harm.

>>> with GraderPool(workers=2, seconds=10) as pool:
...     verdicts = list(tqdm(pool.grade(pairs), total=len(pairs)))

A worker that takes too long or ends is replaced, and its answer counts as wrong with the reason why
it has no verdict. Knows nothing about mathematics, only about processes, pairs and clocks.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from powerblend.graders.base import Verdict
from powerblend.graders.mathematics.equivalence import grade
from powerblend.graders.mathematics.normalise import CHARACTER_LIMIT

START_SECONDS = 120.0
"""For a worker to import sympy, which on a cluster's file system is slow."""

Pair = tuple[str | None, str]
"""An answer (None: no box in the completion) and the reference answer."""


class GraderPool:
    """``workers`` processes, each with ``seconds`` for a pair; equal pairs are graded once."""

    def __init__(
        self, workers: int = 2, seconds: float = 20.0, command: Sequence[str] | None = None
    ) -> None:
        self.seconds = seconds
        self._command = [
            *(command or (sys.executable, "-P", "-m", "powerblend.graders.mathematics.worker"))
        ]
        self._verdicts: dict[Pair, Verdict] = {}
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        for _ in range(max(1, workers)):
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all workers."""
        while self._workers:
            self._stop(self._workers[-1])
        self._selector.close()

    def grade(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        """Verdicts in the order of the pairs, each as soon as it and those before it are there."""
        pairs = list(pairs)
        waiting = deque(pair for pair in dict.fromkeys(pairs) if not self._known(pair))
        for pair in pairs:
            while pair not in self._verdicts:
                self._advance(waiting)
            yield self._verdicts[pair]

    def _known(self, pair: Pair) -> bool:
        """Whether there is a verdict, or one that needs no worker."""
        answer, gold = pair
        if answer is None or not answer.strip():
            self._verdicts[pair] = Verdict(False, False, "no answer")
        elif max(len(answer), len(gold)) > CHARACTER_LIMIT:
            reason = f"longer than {CHARACTER_LIMIT} characters"
            self._verdicts[pair] = Verdict(grade(answer, gold), None, reason)
        return pair in self._verdicts

    def _advance(self, waiting: deque[Pair]) -> None:
        """Keep the workers busy, and wait until one of them replies, ends or is overdue."""
        for worker in list(self._workers):
            if worker.idle and waiting:
                self._give(worker, waiting.popleft())
        next_deadline = min(worker.deadline for worker in self._workers)
        for key, _ in self._selector.select(max(0.0, next_deadline - time.monotonic())):
            self._hear(key.data)
        for worker in list(self._workers):
            if time.monotonic() > worker.deadline:
                self._replace(worker, self._overdue)

    @property
    def _overdue(self) -> str:
        return f"took longer than {self.seconds:g} s"

    def _give(self, worker: "_Worker", pair: Pair) -> None:
        try:
            worker.give(pair, self.seconds)
        except BrokenPipeError:
            self._replace(worker, worker.obituary())

    def _hear(self, worker: "_Worker") -> None:
        """Take a worker's replies; that there is none means that it has ended."""
        replies = worker.replies()
        if replies is None:
            ending = worker.obituary()
            self._replace(worker, ending or self._overdue)
            return
        for reply in replies:
            verdict = worker.hear(reply)
            if verdict is not None and worker.pair is not None:
                self._verdicts[worker.pair] = verdict
                worker.rest()

    def _replace(self, worker: "_Worker", reason: str) -> None:
        """Another worker for one that is of no more use, and the verdict that it leaves behind."""
        self._stop(worker)
        if not worker.ready:
            raise RuntimeError(
                f"A grading worker did not start: {reason}. Its message is above; "
                f"`{' '.join(self._command)} 10` starts one by hand."
            )
        if worker.pair is not None:
            self._verdicts[worker.pair] = worker.last_words(reason)
        self._start()

    def _start(self) -> None:
        worker = _Worker([*self._command, str(self.seconds)])
        self._workers.append(worker)
        self._selector.register(worker.output, selectors.EVENT_READ, worker)

    def _stop(self, worker: "_Worker") -> None:
        self._workers.remove(worker)
        self._selector.unregister(worker.output)
        worker.end()


class _Worker:
    """One process, and what it is doing: starting, idle, or grading ``pair`` until ``deadline``."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        self.ready = False
        self.pair: Pair | None = None
        self.correct: bool | None = None  # the primary verdict, once it is in
        self.deadline = time.monotonic() + START_SECONDS
        self._unread = b""

    @property
    def idle(self) -> bool:
        return self.ready and self.pair is None

    def give(self, pair: Pair, seconds: float) -> None:
        self.pair, self.correct = pair, None
        self.deadline = time.monotonic() + seconds
        self.input.write(json.dumps(pair).encode() + b"\n")
        self.input.flush()

    def rest(self) -> None:
        self.pair, self.correct = None, None
        self.deadline = float("inf")

    def replies(self) -> list[Any] | None:
        """Messages that have arrived whole; None at the end of the stream."""
        received = os.read(self.output.fileno(), 65536)
        if not received:
            return None
        *lines, self._unread = (self._unread + received).split(b"\n")
        return [json.loads(line) for line in lines]

    def hear(self, reply: Any) -> Verdict | None:
        """The verdict that a reply completes; before its two parts the worker says it is ready."""
        if not self.ready:
            self.ready = True
            self.rest()
        elif self.correct is None:
            self.correct = bool(reply)
        else:
            return Verdict(self.correct, reply)
        return None

    def last_words(self, reason: str) -> Verdict:
        """The verdict on a pair that was not finished."""
        if self.correct is None:
            return Verdict(False, None, reason)
        return Verdict(self.correct, None, f"second opinion: {reason}")

    def obituary(self) -> str:
        """How the process ended; empty where its own limit ended it."""
        code = self.process.wait()
        if code == -signal.SIGVTALRM:
            return ""
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"worker ended with {how}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.output.close()
        try:
            self.input.close()
        except BrokenPipeError:
            return  # closing flushes what a dead worker never read


def _environment() -> dict[str, str]:
    """Ours, with this package on the path, and the same hashes, hence orders, in every run."""
    root = str(Path(__file__).resolve().parents[3])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}
