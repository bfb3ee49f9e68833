"""Holds each system call of a process that touches files below a folder, and decides what becomes of it.

A process of its own, forked from one that has imported everything, puts a seccomp filter on itself
(``SECCOMP_RET_USER_NOTIF``) and hands the filter's listener over. From then on the kernel holds each call of
``NUMBERS``, whoever makes it (Python, SQLite, FAISS), until the watcher has said: let it pass, kill the process, fail
with this error, write half of it. So every step of a write path has a number and a name, and each can be tried.

seccomp(2), seccomp_unotify(2); numbers of arch/x86/entry/syscalls/syscall_64.tbl. What is written through shared memory
(SQLite's ``-shm`` alone, which means nothing after a crash) is not seen.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import multiprocessing
import os
import platform
import select
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

# fmt: off
NUMBERS = {
    "write": 1, "open": 2, "pwrite64": 18, "writev": 20, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77,
    "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "openat": 257,
    "mkdirat": 258, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266, "fallocate": 285, "pwritev": 296,
    "renameat2": 316,
}
ONE_NAME = {
    "openat": "open", "mkdirat": "mkdir", "unlinkat": "unlink", "renameat": "rename", "renameat2": "rename",
    "linkat": "link", "symlinkat": "symlink", "pwrite64": "pwrite",
}
PATH_ARGUMENTS: dict[str, tuple[tuple[int | None, int], ...]] = {
    "open": ((None, 0),), "truncate": ((None, 0),), "mkdir": ((None, 0),), "rmdir": ((None, 0),),
    "creat": ((None, 0),), "unlink": ((None, 0),), "symlink": ((None, 1),),
    "openat": ((0, 1),), "mkdirat": ((0, 1),), "unlinkat": ((0, 1),), "symlinkat": ((1, 2),),
    "rename": ((None, 1), (None, 0)), "link": ((None, 1), (None, 0)),
    "renameat": ((2, 3), (0, 1)), "renameat2": ((2, 3), (0, 1)), "linkat": ((2, 3), (0, 1)),
}
"""Which arguments are the folder (None: the current one) and the path of what is acted on, and of its old name."""
# fmt: on
NAMES = {number: name for name, number in NUMBERS.items()}
BY_DESCRIPTOR = NUMBERS.keys() - PATH_ARGUMENTS.keys()
PR_SET_NO_NEW_PRIVS, SYS_SECCOMP, SYS_PIDFD_GETFD = 38, 317, 438
SET_MODE_FILTER, NEW_LISTENER = 1, 8
RECEIVE, SEND = 0xC0502100, 0xC0182101
CONTINUE = 1
AT_FDCWD = -100
PAGE = 4096
PRELOADED = "tests.durability.trials"


class Action(Enum):
    """What becomes of a call, beside failing with an error number."""

    PASS = "pass"
    KILL = "kill"
    """The process ends before the call."""
    SHORT = "short"
    """Half of what was to be written is written, and the caller is told so."""


Decision = Action | int
"""An int is the error number that the caller gets instead."""


@dataclass(frozen=True)
class Call:
    """A call that is about to happen; ``data`` and ``offset`` can be asked for until it has been decided on."""

    name: str
    path: Path
    """The file or folder; of a rename, the new name."""
    before: Path | None
    """Of a rename or link, the old name."""
    flags: int
    """Of an open."""
    below: Path
    thread: int
    arguments: tuple[int, ...]
    system_name: str

    @property
    def step(self) -> str:
        """Its name for people: ``fsync index-2.faiss.tmp``; process ids and the like are left out."""
        parts = [self.path] if self.before is None else [self.before, self.path]
        return f"{self.name} {' → '.join(short_name(path, self.below) for path in parts)}"

    @property
    def writes(self) -> bool:
        """Whether it puts bytes into a file."""
        return self.name in {"write", "pwrite", "writev", "pwritev"}

    @property
    def opens(self) -> bool:
        """Whether it opens a file, for whatever."""
        return self.name in {"open", "creat"}

    @property
    def creates(self) -> bool:
        """Whether it opens a file that is not there."""
        return self.name == "creat" or (self.opens and bool(self.flags & os.O_CREAT) and not self.path.exists())

    @property
    def changes(self) -> bool:
        """Whether it is more than opening what is there for reading."""
        return not self.opens or self.creates or bool(self.flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC))

    def data(self) -> bytes:
        """What is to be written."""
        if self.system_name in {"write", "pwrite64"}:
            return _memory(self.thread, self.arguments[1], self.arguments[2])
        vector = _memory(self.thread, self.arguments[1], 16 * self.arguments[2])
        return b"".join(_memory(self.thread, *part) for part in struct.iter_unpack("QQ", vector))

    def offset(self) -> int:
        """Where in the file it is to be written, in bytes."""
        if self.system_name in {"pwrite64", "pwritev"}:
            return self.arguments[3]
        text = Path(f"/proc/{self.thread}/fdinfo/{self.arguments[0]}").read_text()
        return int(text.split("pos:")[1].split()[0])

    def length(self) -> int:
        """The length that ``ftruncate`` gives, or that ``fallocate`` reaches at least, in bytes."""
        return self.arguments[1] if self.name == "ftruncate" else self.arguments[2] + self.arguments[3]


def short_name(path: Path, below: Path) -> str:
    if path == below:
        return "the folder"
    if path.name.startswith("#") and path.name.endswith(" (deleted)"):  # as Linux calls it, with its inode
        return "a file without a name"
    name = str(path.relative_to(below)) if path.is_relative_to(below) else path.name
    return ".".join("PID" if part.isdecimal() and len(part) > 1 else part for part in name.split("."))


def unavailable() -> str | None:
    """Why calls cannot be watched here; None where they can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"system calls are watched on Linux on x86-64 only, not on {sys.platform} {platform.machine()}"
    try:
        watched(os.getpid, (), Path("/nowhere"), lambda call: Action.PASS)
    except OSError as error:
        return f"seccomp with a listener (Linux 5.5) is not to be had here: {error}"
    return None


def watched(
    work: Callable[..., object], arguments: tuple[Any, ...], below: Path, decide: Callable[[Call], Decision]
) -> int:
    """Do ``work(*arguments)`` in a process of its own, and decide on each call that touches what lies below a folder.

    Args:
        work: a function of a module, as it goes to the other process by its name.
        arguments: of it; they are pickled.
        below: calls that touch neither it nor what is in it pass, unseen.
        decide: told each call before it happens.

    Returns:
        The exit code; negative, the signal that ended the process.

    Raises:
        OSError: there is no such thing as a seccomp listener here.
    """
    below = below.resolve()
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = forked(_begin, (theirs, work, arguments))
        message, listeners, _, _ = socket.recv_fds(ours, 64, 1)
    try:
        for listener in listeners:
            _answer(listener, process, below, decide)
    except BaseException:
        process.kill()
        raise
    finally:
        for listener in listeners:
            os.close(listener)
        process.join()
    if not listeners:
        raise OSError(int(message or errno.EPIPE), os.strerror(int(message or errno.EPIPE)))
    assert process.exitcode is not None
    return process.exitcode


def forked(work: Callable[..., object], arguments: tuple[Any, ...]) -> BaseProcess:
    """Begin ``work(*arguments)`` in a process forked from one that has imported all and has started no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


# In the process that is watched


def _begin(channel: socket.socket, work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    with channel:
        try:
            listener = _listener()
        except OSError as error:
            channel.send(str(error.errno).encode())
            raise SystemExit(1) from None
        socket.send_fds(channel, [b"listen"], [listener])
        os.close(listener)
    work(*arguments)


def _listener() -> int:
    """Have the kernel hold the calls of NUMBERS from now on, for whoever reads the descriptor that is returned."""
    load, equal, give = 0x20, 0x15, 0x06
    allow, notify = 0x7FFF0000, 0x7FC00000
    numbers = NUMBERS.values()
    program = [struct.pack("HBBI", load, 0, 0, 0)]  # the number of the call
    program += [struct.pack("HBBI", equal, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    program += [struct.pack("HBBI", give, 0, 0, verdict) for verdict in (allow, notify)]
    code = ctypes.create_string_buffer(b"".join(program))
    filter_ = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    listener: int = libc.syscall(SYS_SECCOMP, SET_MODE_FILTER, NEW_LISTENER, ctypes.c_char_p(filter_))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


# In the process that watches


def _answer(listener: int, process: BaseProcess, below: Path, decide: Callable[[Call], Decision]) -> None:
    """Decide on each call until the process has ended."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        ((_, events),) = poll.poll()
        if not events & select.POLLIN:
            return
        held = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, held)
            number, thread, _, system_call = struct.unpack_from("QIIi", held)
            call = _call(thread, NAMES[system_call], struct.unpack_from("6Q", held, 32), below)
            decision = Action.PASS if call is None else decide(call)
            if decision is Action.KILL:
                process.kill()
                continue
            fcntl.ioctl(listener, SEND, bytearray(_answer_to(number, call, decision)))
        except (FileNotFoundError, ProcessLookupError, InterruptedError):
            continue  # the call was given up: its process was killed, or a signal came


def _answer_to(number: int, call: Call | None, decision: Decision) -> bytes:
    if decision is Action.SHORT and call is not None:
        written = _write_half(call)
        return struct.pack("QqiI", number, written, 0, 0)
    if isinstance(decision, int):
        return struct.pack("QqiI", number, 0, -decision, 0)
    return struct.pack("QqiI", number, 0, 0, CONTINUE)


def _call(thread: int, name: str, arguments: tuple[int, ...], below: Path) -> Call | None:
    """What the call is about; None if it is about nothing below the folder."""
    before = None
    if name in BY_DESCRIPTOR:
        path = Path(f"/proc/{thread}/fd/{_signed(arguments[0])}").readlink()
    else:
        path, *befores = (_path(thread, arguments, *where) for where in PATH_ARGUMENTS[name])
        before = befores[0] if befores else None
    if not any(one is not None and one.is_relative_to(below) for one in (path, before)):
        return None
    flags = {"open": 1, "openat": 2}.get(name)
    return Call(
        name=ONE_NAME.get(name, name),
        path=path,
        before=before,
        flags=0 if flags is None else arguments[flags],
        below=below,
        thread=thread,
        arguments=arguments,
        system_name=name,
    )


def _path(thread: int, arguments: tuple[int, ...], folder: int | None, path: int) -> Path:
    """The absolute path that two arguments name; links in it are followed, but for the last part."""
    given = Path(os.fsdecode(_string(thread, arguments[path])))
    start = "cwd" if folder is None or _signed(arguments[folder]) == AT_FDCWD else f"fd/{arguments[folder]}"
    whole = given if given.is_absolute() else Path(f"/proc/{thread}/{start}").readlink() / given
    return Path(os.path.realpath(whole.parent)) / whole.name


def _signed(value: int) -> int:
    return ctypes.c_int(value & 0xFFFFFFFF).value


def _string(thread: int, address: int) -> bytes:
    """Text that ends with a NUL byte; not read beyond its page at once, as the next may not be there."""
    text = b""
    while b"\0" not in text:
        text += _memory(thread, address + len(text), PAGE - (address + len(text)) % PAGE)
    return text.partition(b"\0")[0]


def _memory(thread: int, address: int, size: int) -> bytes:
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        return os.pread(memory.fileno(), size, address)


def _write_half(call: Call) -> int:
    """Do a write in the caller's place, but half of it; return how many bytes that was."""
    data = call.data()
    half = data[: max(1, len(data) // 2)]
    process = os.pidfd_open(_process_of(call.thread))
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = libc.syscall(SYS_PIDFD_GETFD, process, _signed(call.arguments[0]), 0)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        try:  # the same open file, so that its position moves as the caller's own write would move it
            if call.name == "pwrite":
                return os.pwrite(descriptor, half, call.offset())
            return os.write(descriptor, half)
        finally:
            os.close(descriptor)
    finally:
        os.close(process)


def _process_of(thread: int) -> int:
    text = Path(f"/proc/{thread}/status").read_text()
    return int(text.split("Tgid:")[1].split()[0])
