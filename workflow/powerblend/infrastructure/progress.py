"""How far long work is: a line in a job's log now and then, and one place that shows all jobs'.

A job says how far it is in its log. The process that runs the workflow reads the logs of all jobs
and shows, in plain lines, those that are at work: jobs side by side never write over each other, a
file holds what a terminal shows, and on a cluster every job's log has its own.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO, TypeVar

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0
"""Between two lines of a job's log, and between two looks at all logs at first."""

SECONDS_BETWEEN_LOOKS = 60.0
"""Between two looks at all logs in the end: hours of work take no thousands of lines."""

SECONDS_OF_SILENCE = 600.0
"""After which a job that says nothing is no longer shown: it may have been killed."""

ENDED = ("done", "error", "terminated", "interrupted")
"""How the last message of a job begins."""

Item = TypeVar("Item")


class Progress:
    """Logs how much of ``total`` is done, what is said of it, and how long it still takes.

    Each line begins with ``told``, where a job works on several things one after another.
    """

    def __init__(self, total: int, unit: str, told: str = "") -> None:
        self._total, self._unit, self._told = total, unit, told
        self._started = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    def at(self, done: int, note: str = "") -> None:
        """Log a line, if the last one is long enough ago."""
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            log.info("%s", self._line(done, note))

    def _line(self, done: int, note: str) -> str:
        parts = [f"{done / max(self._total, 1):.0%}", f"{done} of {self._total} {self._unit}"]
        if done:
            parts.append(f"{clock(self.seconds * (self._total / done - 1))} left")
        return self._told + ", ".join(filter(None, [*parts, note]))


def followed(items: Iterable[Item], total: int, unit: str) -> Iterator[Item]:
    """The items, logging how many of them have been dealt with."""
    progress = Progress(total, unit)
    for number, item in enumerate(items, start=1):
        yield item
        progress.at(number)


def clock(seconds: float) -> str:
    """A length of time as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def show_jobs(folders: Sequence[Path], file: TextIO = sys.stderr) -> None:
    """Show, until the process ends, how far the jobs are whose logs change from now on."""
    arguments = (folders, time.time(), file)
    threading.Thread(target=_show, args=arguments, daemon=True).start()


def _show(folders: Sequence[Path], start: float, file: TextIO) -> None:
    pause, shown = SECONDS_BETWEEN_LINES, ""
    while True:
        time.sleep(pause)
        text = at_work(folders, start)
        if text and text != shown:
            print(f"{time.strftime('%H:%M:%S')} at work:\n{text}", file=file, flush=True)
        shown = text
        pause = min(1.1 * pause, SECONDS_BETWEEN_LOOKS)


def at_work(folders: Sequence[Path], start: float) -> str:
    """A line for each job that is at work: its name, and what its log said last.

    ``start`` is the time since which a log must have changed, in seconds since the epoch.
    """
    logs = sorted((folder, path) for folder in folders for path in _logs(folder))
    lines = {}
    for folder, path in logs:
        message = _last_message(path, start)
        if message and not message.startswith(ENDED):
            lines[path.relative_to(folder).with_suffix("").as_posix()] = message
    width = max(map(len, lines), default=0)
    return "\n".join(f"  {name:{width}}  {message}" for name, message in lines.items())


def _logs(folder: Path) -> Iterator[Path]:
    """Every log in a folder; one whose folder is removed meanwhile is passed over."""
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names if name.endswith(".log"))


def _last_message(path: Path, start: float) -> str:
    """Of a log that has changed: the last message, without its time; empty if there is none."""
    try:
        changed = path.stat().st_mtime
        if changed < max(start, time.time() - SECONDS_OF_SILENCE):
            return ""
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:  # removed in between, as Snakemake does before a job begins again
        return ""
    said = [line for line in lines if line.strip()]
    return said[-1].partition(" ")[2] if said else "begins"
