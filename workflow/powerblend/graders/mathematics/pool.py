"""Both graders over many answers, in processes that may hang or die without harm.

>>> with GraderPool(workers=2, seconds=10) as pool:
...     verdicts = list(tqdm(pool.grade(pairs), total=len(pairs)))

A worker that takes too long or dies is replaced (by pebble). A pair whose worker died is given to
another one once; if there is no verdict then, it counts as not correct, and the reason says that it
is ungradable. Where the whole pool breaks, no pair is to blame, and all go to a new one. A script
that uses a pool guards what it runs with ``if __name__ == "__main__"``, for workers import it too.
Knows nothing about mathematics, only about pairs, verdicts and processes.
"""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, get_context
from types import TracebackType
from typing import Any, NamedTuple, Self

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from powerblend.graders.base import Verdict
from powerblend.graders.mathematics import worker
from powerblend.graders.mathematics.normalise import CHARACTER_LIMIT

START_SECONDS = 120.0
"""For a worker to import sympy, which on a cluster's file system is slow."""
WAITING_FACTOR = 6
"""Wall-clock seconds for each of processor time: only what does nothing is as slow as that."""
CHANNEL_SECONDS = 20.0
"""For a worker to leave the way that tasks and results go; one that is killed there never does."""
LOOKING_SECONDS = 1.0
"""Between two looks at whether the pool still works."""
BREAKS = 5
"""Pools that may break in a row, with no task coming to an end, before a pair is blamed for it.
So many may also break in a row while they start."""

UNGRADABLE = "ungradable"
"""How the reason begins where there is no primary verdict for want of a worker that survives."""

Pair = tuple[str | None, str] | tuple[str | None, str, str]
"""An answer (None: no box in the completion), the reference answer, and the problem's text."""


class _Task(NamedTuple):
    """One grader asked about one pair."""

    grader: worker.Grader
    arguments: tuple[str, ...]


class GraderPool:
    """``workers`` processes, each with ``seconds`` for a verdict; equal pairs are graded once."""

    def __init__(
        self,
        workers: int = 2,
        seconds: float = 20.0,
        primary: worker.Grader = worker.primary,
        second: worker.Grader = worker.second,
    ) -> None:
        self.seconds = seconds
        self._workers = max(1, workers)
        self._graders = (primary, second)
        self._verdicts: dict[Pair, Verdict] = {}
        self._pool: ProcessPool | None = None
        self._futures: dict[_Task, ProcessFuture[Any]] = {}
        self._breaks = 0  # of pools, since a task has last come to an end
        self._progress = 0.0  # when that was

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
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None

    def grade(self, pairs: Iterable[Pair]) -> Iterator[Verdict]:
        """Verdicts in the order of the pairs, each as soon as it and those before it are there.

        Raises
        ------
        RuntimeError
            If workers cannot be started.
        """
        pairs = list(pairs)
        for pair in dict.fromkeys(pairs):
            if pair[0] is None or not pair[0].strip():
                self._verdicts[pair] = Verdict(False, False, "no answer")
            elif pair not in self._verdicts:
                for task in self._tasks(pair):
                    self._schedule(task)
        for pair in pairs:
            if pair not in self._verdicts:
                self._verdicts[pair] = self._verdict(pair)
            yield self._verdicts[pair]

    def _tasks(self, pair: Pair) -> tuple[_Task, _Task]:
        """The question to each of the two graders; the second does not hear of the problem."""
        answer, gold = pair[0] or "", pair[1]
        problem = pair[2] if len(pair) > 2 else ""
        primary, second = self._graders
        return _Task(primary, (answer, gold, problem)), _Task(second, (answer, gold))

    def _verdict(self, pair: Pair) -> Verdict:
        primary, second = self._tasks(pair)
        judgement, why_not = self._result(primary)
        if judgement is None:
            self._futures.pop(second).cancel()
            return Verdict(False, None, f"{UNGRADABLE}: {why_not}")
        opinion, why_not = self._result(second)
        reason = f"second opinion: {why_not}" if why_not else None
        if max(map(len, second.arguments)) > CHARACTER_LIMIT:
            reason = f"longer than {CHARACTER_LIMIT} characters"
        return Verdict(judgement.correct, opinion, reason, judgement.rule)

    def _result(self, task: _Task) -> tuple[Any, str | None]:
        """What a grader says, or None and why it came to no verdict, in a second worker neither."""
        reason, tries = None, 0
        while tries < 2:
            try:
                return self._wait(task), None
            except TimeoutError:
                return None, self._overdue
            except ProcessExpired as error:
                if error.exitcode == -signal.SIGVTALRM:
                    return None, self._overdue
                reason, tries = f"worker ended with {_ending(error.exitcode)}", tries + 1
            except BrokenProcessPool:
                self._restart()
                if self._breaks > BREAKS:
                    reason, tries = "all workers ended", tries + 1
            except Exception as error:  # a fault of the grader's, which is no fault of the answer's
                return None, f"{type(error).__name__}: {error}"
        return None, reason

    @property
    def _overdue(self) -> str:
        return f"took longer than {self.seconds:g} s"

    def _wait(self, task: _Task) -> Any:
        """A task's result; BrokenProcessPool also where the pool will come to none."""
        future = self._futures.get(task) or self._schedule(task)
        start = time.monotonic()
        while not wait([future], LOOKING_SECONDS).done:
            if self._is_broken(max(start, self._progress)):
                raise BrokenProcessPool
        del self._futures[task]
        return future.result()

    def _is_broken(self, since: float) -> bool:
        """Whether the pool gave up, which it does not tell tasks in its queue, or does nothing."""
        patience = START_SECONDS + WAITING_FACTOR * self.seconds
        return self._pool is None or not self._pool.active or time.monotonic() - since > patience

    def _schedule(self, task: _Task) -> "ProcessFuture[Any]":
        if self._pool is None:
            self._pool = self._started()
        limit = WAITING_FACTOR * self.seconds
        try:
            future = self._pool.schedule(worker.judge, (*task, self.seconds), timeout=limit)
        except RuntimeError:  # it has broken since
            self._restart()
            return self._schedule(task)
        future.add_done_callback(self._count)
        self._futures[task] = future
        return future

    def _count(self, future: Future[Any]) -> None:
        if future.cancelled() or not isinstance(future.exception(), BrokenProcessPool):
            self._breaks, self._progress = 0, time.monotonic()

    def _restart(self) -> None:
        """A new pool for one that is of no more use, with the tasks that have no result."""
        self.close()
        self._breaks += 1
        for task, future in list(self._futures.items()):
            if not future.done() or isinstance(future.exception(), BrokenProcessPool):
                self._schedule(task)

    def _started(self) -> ProcessPool:
        """A pool with a worker that is known to run."""
        _start_server()
        died = hung = 0
        while died < BREAKS and hung < 2:
            pool = ProcessPool(
                self._workers,
                initializer=worker.start,
                initargs=(CHANNEL_SECONDS, *self._graders),
                context=get_context("forkserver"),
            )
            try:
                pool.schedule(worker.ready).result(START_SECONDS)
                return pool
            except (BrokenProcessPool, ProcessExpired):
                died += 1
            except TimeoutError:
                hung += 1
            pool.stop()
            pool.join()
        raise RuntimeError(
            f"The grading workers did not start: they died {BREAKS} times, or hung "
            f"in two attempts of at most {START_SECONDS:g} s. What they said is above."
        )


def _start_server() -> None:
    """Start the process that workers are forked from, with both graders imported and warm.

    It has a fixed seed for hashes, hence the same orders in every run.
    """
    forkserver.set_forkserver_preload(["__main__", "powerblend.graders.mathematics.warm"])
    seed = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONHASHSEED"]
        if seed is not None:
            os.environ["PYTHONHASHSEED"] = seed


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
