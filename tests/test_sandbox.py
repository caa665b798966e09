"""The sandbox: every way to do harm, or to pass without passing, is tried and comes to nothing."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from powerblend.graders import parse_grader, sandbox
from powerblend.graders.sandbox import Limits, run_program

LIMITS = Limits(seconds=5.0, memory=2**28)

# Each runs to its end, and so would pass, only if the harm is done.
HARMS = {
    "a connection": "socket.create_connection(('1.1.1.1', 53), 2)",
    "a name look-up": "socket.getaddrinfo('example.org', 80)",
    "a local connection": "socket.create_connection(socket.create_server(('', 0)).getsockname())",
    "a datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('1.1.1.1', 53))",
    "a file outside": "open(outside + '/harm', 'w')",
    "deleting what is there": "os.remove(outside + '/precious')",
    "writing to what is there": "open(outside + '/precious', 'a').write('harm')",
    "a big file": "open('big', 'wb').write(bytes(2**25))",
    "many files": "[open(str(i), 'wb').write(bytes(2**20)) for i in range(40)]",
    "many open files": "files = [open('x', 'w') for _ in range(100)]",
    "memory": "block = bytearray(2**29)",
    "a process": "os.fork()",
    "a command": "subprocess.run(['true'])",
    "a thread": "threading.Thread(target=print).start()",
    "more processes": "resource.setrlimit(resource.RLIMIT_NPROC, (99, 99))",
    "more memory": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "a mount": "assert libc.mount(b'x', b'/tmp', b'tmpfs', 0, b'') == 0",
    "a writable mount": "assert libc.mount(b'', b'/', b'', 32 | 4096, b'') == 0",
    "a signal to others": "os.kill(parent, 9)",
    "the environment": "os.environ['SECRET']",
}
IMPORTS = """
import ctypes, os, resource, socket, subprocess, threading
libc = ctypes.CDLL(None)
"""


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory that anybody may write to, and that the sandbox does not hide."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        path = Path(folder)
        (path / "precious").write_text("precious")
        (path / "precious").chmod(0o666)
        path.chmod(0o777)
        yield path


@pytest.mark.parametrize("name", HARMS)
def test_harm_is_not_done(
    name: str, outside: Path, sandboxed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "xyzzy")
    program = f"{IMPORTS}outside, parent = {str(outside)!r}, {os.getpid()}\n{HARMS[name]}\n"
    assert run_program(program, LIMITS) == (False, None)
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "precious"


@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "print('ready')\nprint('passed')\nimport os\nos.write(1, b'ready\\n')\nos._exit(0)",
        "import os\nfor fd in range(64):\n  try: os.write(fd, b'0' * 32)\n  except OSError: pass\n"
        "os._exit(0)",
        "import os\nos.execv('/bin/true', ['true'])",
        "import atexit, os\natexit.register(os._exit, 0)\nassert False",
        "assert False",
        "def f(:",
        "\0",
    ],
)
def test_nothing_but_reaching_the_end_is_a_pass(program: str, sandboxed: None) -> None:
    assert run_program(program + "\nassert False\n", LIMITS) == (False, None)


def test_what_is_right_passes(sandboxed: None) -> None:
    program = "import math, os\nopen('x', 'w').write('1')\nassert os.listdir('.') == ['x']\n"
    assert run_program(program + "assert math.sqrt(4) == 2\nprint('noise')", LIMITS) == (True, None)
    # Nothing is left for the next one.
    assert run_program("import os\nassert not os.listdir('.')", LIMITS) == (True, None)
    assert run_program(IMPORTS, LIMITS) == (True, None)


ENDLESS = {
    "busy": "while True: pass",
    "asleep": "import time\ntime.sleep(1000)",
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "deaf": "import os, signal, time\nfor s in (2, 15, 24): signal.signal(s, signal.SIG_IGN)\n"
    "os.setsid()\ntime.sleep(1000)",
    "flooding": "import os\nwhile True:\n  for fd in range(64):\n    try: os.write(fd, bytes(99))\n"
    "    except OSError: pass",
    "orphan": "import ctypes, time\nctypes.CDLL(None).prctl(1, 0)\ntime.sleep(1000)",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_does_not_end_is_ended_with_all_that_it_started(name: str, sandboxed: None) -> None:
    limits = Limits(1.0, 2**28 + os.getpid())  # tells its processes from those of other tests
    start = time.monotonic()
    verdict = run_program(ENDLESS[name], limits)
    assert verdict == (False, "took longer than 1 s")
    assert time.monotonic() - start < 5
    deadline = time.monotonic() + 2
    while _jailed(limits) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _jailed(limits)


def test_a_flood_of_replies_is_no_flood_of_files(
    sandboxed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies go to files of the machine's own, which the program could fill its disk with."""
    make, kept = tempfile.TemporaryFile, []

    def keep() -> IO[bytes]:
        file = make()
        kept.append(os.dup(file.fileno()))
        return file

    monkeypatch.setattr(sandbox.tempfile, "TemporaryFile", keep)
    flood = "for fd in range(3, 64):\n  try:\n    for _ in range(9): os.write(fd, bytes(2**22))\n"
    assert run_program(f"import os\n{flood}  except OSError: pass", LIMITS) == (False, None)
    sizes = [os.fstat(descriptor).st_size for descriptor in kept]
    for descriptor in kept:
        os.close(descriptor)
    assert 2**22 < max(sizes) <= 2**24


def _jailed(limits: Limits) -> set[str]:
    """Processes that run the jail with these limits."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if bytes(sandbox.JAIL) in command and str(limits.memory).encode() in command:
                found.add(process.name)
        except OSError:
            continue
    return found


UNPRIVILEGED = """
import sys
sys.path.insert(0, sys.argv[1])
from sandbox import Limits, run_program, why_not
print(why_not())
for program in sys.argv[2:]:
    print(run_program(program, Limits(5.0, 2**28))[0])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_privileges_has_the_same_sandbox(outside: Path, sandboxed: None) -> None:
    python = Path("/usr/bin/python3")
    if not python.exists():
        pytest.skip("there is no interpreter that anybody may run")
    package = outside / "package"
    package.mkdir(mode=0o755)
    for module in ("sandbox.py", "jail.py"):
        shutil.copy(sandbox.JAIL.with_name(module), package)
    prelude = f"{IMPORTS}outside, parent = {str(outside)!r}, {os.getpid()}\n"
    done = subprocess.run(
        [
            python,
            "-c",
            UNPRIVILEGED,
            package,
            prelude,
            *(prelude + harm for harm in HARMS.values()),
        ],
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.stdout.split() == ["None", "True"] + ["False"] * len(HARMS), done.stderr
    assert (outside / "precious").read_text() == "precious"


def test_without_a_sandbox_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part that cannot be had ends in a sentence, and the program does not run."""
    proof = tmp_path / "ran"
    program = f"open({str(proof)!r}, 'w')"
    stubs = {
        "unshare: unshare failed: Operation not permitted": "echo 'unshare: unshare "
        "failed: Operation not permitted' >&2; exit 1",
        "it ended without a word": "exit 0",
    }
    for sentence, body in stubs.items():
        stub = tmp_path / "bin" / "unshare"
        stub.parent.mkdir(exist_ok=True)
        stub.write_text(f"#!/bin/sh\n{body}\n")
        stub.chmod(0o755)
        monkeypatch.setenv("PATH", str(stub.parent))
        with pytest.raises(RuntimeError, match=f"it cannot be built here: .*{sentence}"):
            run_program(program, LIMITS)
        sandbox.why_not.cache_clear()
        with pytest.raises(ValueError, match=f"runs nothing without a sandbox: .*{sentence}"):
            parse_grader({"grader": "code", "run_code": True}).check()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="there is no program unshare"):
        run_program(program, LIMITS)
    sandbox.why_not.cache_clear()
    assert not proof.exists()


def test_the_jail_does_nothing_outside_of_namespaces_of_its_own(outside: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", sandbox.JAIL, "1", str(2**28)],
        input=b'{"program": "", "token": "token"}',
        capture_output=True,
    )
    assert done.returncode == 1
    assert b"namespaces of its own" in done.stderr
    assert not done.stdout
    (outside / "still writable").touch()
