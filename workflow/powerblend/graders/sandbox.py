"""Running a program that nobody has read: without network, and with limits to all it can use.

Each program is a process of its own in Linux namespaces made by ``unshare`` (util-linux): no
network, no other processes in sight, file systems read-only but for an empty one of its own, and no
privileges; `jail` does the rest from inside. Where any of this cannot be had, nothing is run.

A program has passed if it runs to its end. What it prints does not count, nor does its exit status:
the jail vouches for it with a token. A program written to break out of its own tests, rather than
to pass them, could find that token in the memory of its process; it still could do no harm.
"""

import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

JAIL = Path(__file__).with_name("jail.py")
NAMESPACES = ("--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child")
PROBE = "import collections, functools, itertools, math, random, re, string, typing"
"""What any program may import."""


class Limits(NamedTuple):
    """What a program may use."""

    seconds: float
    memory: int  # bytes


def run_program(program: str, limits: Limits) -> tuple[bool, str | None]:
    """Whether a program runs to its end, and if it was ended, why.

    Raises
    ------
    RuntimeError
        If there can be no sandbox here; the program has not been run then.
    """
    token = secrets.token_hex(16)
    task = json.dumps({"program": program, "token": token}).encode()
    # Files, not pipes: the limit on files holds for a program that floods them.
    with tempfile.TemporaryFile() as replies, tempfile.TemporaryFile() as errors:
        late = _run(task, limits, replies, errors)
        replies.seek(0)
        errors.seek(0)
        ready, _, reply = replies.read(100).partition(b"\n")
        if ready != b"ready":
            raise RuntimeError(f"it cannot be built here: {_last_line(errors.read())}")
    if reply == token.encode():
        return True, None
    return False, f"took longer than {limits.seconds:g} s" if late else None


@cache
def why_not() -> str | None:
    """Why there can be no sandbox on this machine, or None if there can."""
    try:
        passed, reason = run_program(PROBE, Limits(60.0, 2**30))
    except RuntimeError as error:
        return str(error)
    return None if passed else reason or "a program in it finds no standard library"


def _run(task: bytes, limits: Limits, replies: IO[bytes], errors: IO[bytes]) -> bool:
    """Run the jail to its end; whether it had to be ended."""
    try:
        process = subprocess.Popen(
            _command(limits),
            stdin=subprocess.PIPE,
            stdout=replies,
            stderr=errors,
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONHASHSEED": "0"},
            cwd="/",
            start_new_session=True,
        )
    except FileNotFoundError:
        raise RuntimeError("there is no program unshare (of util-linux, on Linux)") from None
    try:
        process.communicate(task, timeout=limits.seconds)
        return False
    except subprocess.TimeoutExpired:
        return True
    finally:
        _end(process)


def _command(limits: Limits) -> list[str]:
    # One who is not root gets the right to make the other namespaces from one of users.
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    numbers = map(str, (math.ceil(limits.seconds), limits.memory))
    return ["unshare", *user, *NAMESPACES, "--", sys.executable, "-I", "-S", str(JAIL), *numbers]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the jail, with all that is in it, and then unshare."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with suppress(OSError, ValueError):
        for child in map(int, children.read_text().split()):
            os.kill(child, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"
