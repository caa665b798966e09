"""Commands of powerblend in forked processes, which find everything imported: no seconds lost."""

import multiprocessing
import os
import resource
import sys
from functools import cache
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from powerblend.cli import main

CONTEXT = multiprocessing.get_context("forkserver")
PRELOAD = [
    *("powerblend.jobs.generate", "powerblend.jobs.models", "powerblend.study.answers"),
    *("transformers.models.llama.modeling_llama", "warm"),
]


@cache
def _server() -> None:
    """Start a server of our own: a process has one, and graders may have started theirs before.

    They need hashes that are the same in every run, and find them in this one too.
    """
    forkserver._forkserver._stop()
    forkserver.set_forkserver_preload(PRELOAD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "0")
        forkserver.ensure_running()


def start(*arguments: str, cwd: Path, log: Path, largest: int | None = None) -> BaseProcess:
    """Start a command in a folder; what it prints is appended to ``log``.

    ``largest`` limits the size of every file that it writes, in bytes, as a full disk would.
    """
    _server()
    process = CONTEXT.Process(target=_command, args=(arguments, cwd, log, largest))
    process.start()
    return process


def run(*arguments: str, cwd: Path, check: bool = True) -> str:
    """Run a command in a folder; what it printed, ending in its exit code if that is not 0."""
    log = cwd / "output.log"
    log.unlink(missing_ok=True)
    process = start(*arguments, cwd=cwd, log=log)
    process.join()
    text = log.read_text(encoding="utf-8")
    assert not check or process.exitcode == 0, text
    return text if process.exitcode == 0 else f"{text}\nexit code {process.exitcode}"


def _command(arguments: tuple[str, ...], cwd: Path, log: Path, largest: int | None) -> None:
    os.chdir(cwd)
    printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    sys.exit(main(list(arguments)))
