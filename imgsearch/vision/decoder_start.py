"""Starting the process that forks decoders: as a new interpreter, or ahead of time as a copy of a young command.

A new interpreter takes some 60 ms of a core to be ready: little beside a batch, much beside a single search. So the
command line copies itself before it loads anything that starts threads, and Pillow is loaded there while networks are
loaded here.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final

from imgsearch import own_process
from imgsearch.vision.decoder_ipc import NUMBER, receive_exactly

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Forking", "start_ahead"]

ONE_THREAD: Final = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
"""A copy of a process is only safe while that has one thread."""
KEPT: Final = 32 * 1024 * 1024
KEPT_MEMORY: Final = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(KEPT))
"""To glibc: keep what a picture has used for the next one; else the system clears each page anew, which takes a seventh
of the time of decoding. Other C libraries pass over it."""
THREADS: Final = "/proc/self/task"
"""Has an entry for each thread of a process, on Linux."""
DESCRIPTORS: Final = "/proc/self/fd"
"""Likewise for each open file."""
STANDARD: Final = 3
"""Stdin, stdout and stderr."""

_ahead: list[Forking] = []
"""The one that was started ahead of time, until it is taken."""


class Forking:
    """The process that forks decoders, as seen from here.

    Args:
        control: the socket that it listens to.
        wait: waits for its end.
    """

    def __init__(self, control: socket.socket, wait: Callable[[], object]) -> None:
        self._control = control
        self._wait = wait
        self._lock = Lock()

    @classmethod
    def started(cls) -> Forking:
        """The one that was started ahead of time, or a new one."""
        with suppress(IndexError):
            return _ahead.pop()
        import subprocess

        control, theirs = socket.socketpair()
        with theirs:
            # A new interpreter, no copy of this process, which may have threads and a GPU at work.
            process = subprocess.Popen(
                # -P: a PIL.py in the folder where the user happens to be is not ours to run.
                [sys.executable, "-P", "-m", "imgsearch.vision.decoder_worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process, which ends the others by hanging up
                env={**os.environ, **ONE_THREAD, **KEPT_MEMORY},
            )
        return cls(control, process.wait)

    def fork(self, connection: socket.socket) -> int:
        """Have a decoder made that serves ``connection``; its process id.

        Raises:
            EOFError: the process that forks has been ended.
            OSError: no further process can be started.
        """
        answer = self._ask(0, [connection.fileno()])
        if answer is None:
            raise EOFError
        if answer < 0:
            raise OSError(-answer, f"no process can be started for decoding: {os.strerror(-answer)}")
        return answer

    def end(self, pid: int) -> int | None:
        """End a decoder; how it ended, None where nobody knows any more."""
        return self._ask(pid, [])

    def _ask(self, number: int, descriptors: list[int]) -> int | None:
        answer = bytearray(NUMBER.size)
        with self._lock:
            try:
                socket.send_fds(self._control, [NUMBER.pack(number)], descriptors)
                receive_exactly(self._control, answer)
            except (EOFError, OSError):
                return None
        told: int = NUMBER.unpack(answer)[0]
        return told

    def close(self) -> None:
        """End it, and with it all decoders."""
        with suppress(OSError):  # it has gone already
            self._control.shutdown(socket.SHUT_RDWR)
        with suppress(ChildProcessError):
            self._wait()
        with self._lock:
            self._control.close()


def start_ahead() -> None:
    """Start the process for the next ``Decoders`` now, as a copy of this one.

    Does nothing where that is not safe: in a program that is not ours, or one that has threads already.
    """
    if _ahead or not own_process.is_ours() or not _has_one_thread():
        return
    control, theirs = socket.socketpair()
    try:
        pid = os.fork()
    except OSError:  # the first picture tells, when it tries again
        control.close()
        theirs.close()
        return
    if pid == 0:
        _serve(theirs.detach())
    theirs.close()
    _ahead.append(Forking(control, lambda: os.waitpid(pid, 0)))


def _has_one_thread() -> bool:
    try:
        return len(os.listdir(THREADS)) == 1
    except OSError:
        return False


def _serve(control: int) -> None:
    """Become the process that forks decoders; never returns."""
    try:
        os.setsid()  # see start_new_session
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(control, 0)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        for descriptor in map(int, os.listdir(DESCRIPTORS)):
            if descriptor >= STANDARD:
                with suppress(OSError):  # of the listing itself
                    os.close(descriptor)
        os.environ.update(ONE_THREAD)  # before NumPy is loaded
        from imgsearch.vision.decoder_worker import main

        main()
    finally:
        os._exit(1)
