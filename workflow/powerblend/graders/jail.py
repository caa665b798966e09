"""Inside the sandbox: give up what a program could do harm with, then run it.

Started by `sandbox` as ``unshare ... python -I -S jail.py LIMITS``, as the first process of its own
namespaces; the program and a token come on standard input. Standard output gets "ready" when
nothing more can go wrong here, and the token if the program runs to its end. Uses the standard
library only, and imports nothing of this package.
"""

import ctypes
import json
import os
import resource
import struct
import sys

MOUNT_SETATTR = 442  # the number is the same on every architecture
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 1
MS_PRIVATE = 1 << 18
MS_NOSUID_NODEV = 2 | 4
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS = 1, 8, 38
CAPABILITIES_VERSION = 0x20080522
CAP_DAC_READ_SEARCH = 2

NOBODY = 65534
HIDDEN = ("/run", "/tmp")  # sockets of other programs are here; the last is where the program runs
FILE_BYTES = 16 * 2**20  # bytes of a file, and of all files
OPEN_FILE_LIMIT = 64

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Build the jail, run the program, vouch for its end."""
    if os.getpid() != 1:
        # What comes next would make the machine's own file systems read-only.
        sys.exit("jail.py is for sandbox.py to start, in namespaces of its own")
    seconds, memory = map(int, sys.argv[1:])
    task = json.loads(sys.stdin.read())
    replies = os.dup(1)
    freeze_files()
    drop_privileges()
    limit("RLIMIT_CPU", seconds)
    limit("RLIMIT_FSIZE", FILE_BYTES)
    limit("RLIMIT_NOFILE", OPEN_FILE_LIMIT)
    limit("RLIMIT_CORE", 0)
    limit("RLIMIT_NPROC", 0)
    os.write(replies, b"ready\n")
    silence()
    limit("RLIMIT_AS", memory)
    try:
        exec(compile(task["program"], "program", "exec"), {"__name__": "__main__"})
    except BaseException:  # SystemExit too: a program that leaves early has passed no test
        os._exit(1)
    os.write(replies, task["token"].encode())
    os._exit(0)


def freeze_files() -> None:
    """Make every file system read-only, and put empty ones where the program may write."""
    read_only = struct.pack("QQQQ", MOUNT_ATTR_RDONLY, 0, MS_PRIVATE, 0)
    size = ctypes.c_size_t(len(read_only))
    succeed(libc.syscall(MOUNT_SETATTR, -1, b"/", AT_RECURSIVE, read_only, size), "mount_setattr")
    options = f"size={FILE_BYTES},mode=0777".encode()
    for place in HIDDEN:
        made = libc.mount(b"tmpfs", place.encode(), b"tmpfs", MS_NOSUID_NODEV, options)
        succeed(made, f"an empty {place}")
    os.chdir(HIDDEN[-1])


def drop_privileges() -> None:
    """No capability but, for one who was root, that of reading the interpreter's own files.

    Root has no limit on processes, so it becomes nobody; a user of a namespace is its root.
    """
    kept = 0
    if in_first_user_namespace():
        kept = 1 << CAP_DAC_READ_SEARCH
        succeed(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "keeping capabilities")
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header = struct.pack("Ii", CAPABILITIES_VERSION, 0)
    succeed(libc.capset(header, struct.pack("6I", kept, kept, 0, 0, 0, 0)), "capset")
    succeed(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    # A change of user cleared it: end when unshare, our parent, ends.
    succeed(libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0), "the parent's death signal")


def in_first_user_namespace() -> bool:
    """Whether we are the machine's root, rather than that of a namespace."""
    with open("/proc/self/uid_map") as file:
        return file.read().split() == ["0", "0", str(2**32 - 1)]


def limit(name: str, value: int) -> None:
    """Set a limit that cannot be raised again."""
    resource.setrlimit(getattr(resource, name), (value, value))


def silence() -> None:
    """Take standard input and output away: what a program prints is no reply."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def succeed(result: int, what: str) -> None:
    """Raise OSError if a system call failed."""
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


if __name__ == "__main__":
    main()
