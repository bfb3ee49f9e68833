"""Commands of tests as real processes, forked from one that has imported everything.

Starting Python and importing what a command needs takes longer than most commands, and tests run more than a thousand.
A fork has its own memory, descriptors, environment, working directory and exit code. What it does not have is a start
of its own: tests of that, of signals and of kills start ``tests.conftest.command`` instead.

``python -m tests.forked`` is the process that forks: it reads a line of JSON for each command, and answers with a line
that holds the number of the process, then with one that holds its exit code.
"""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["run_forked"]

ROOT = Path(__file__).resolve().parent.parent


class _Servers:
    """Processes that fork: one for each command that runs at the same time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[subprocess.Popen[str]] = []

    @contextmanager
    def one(self) -> Iterator[subprocess.Popen[str]]:
        """One that is idle; it ends with this process, whose end of its stdin is closed then."""
        with self._lock:
            server = self._idle.pop() if self._idle else None
        server = server or subprocess.Popen(
            [sys.executable, "-m", "tests.forked"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        yield server
        with self._lock:
            self._idle.append(server)


_SERVERS = _Servers()


def run_forked(
    arguments: list[str], stdin: bytes, environment: dict[str, str], timeout: float
) -> tuple[int, bytes, bytes]:
    """Run one command of ``imgsearch``.

    Args:
        arguments: without the name of the program.
        stdin: what it can read.
        environment: all of it.
        timeout: in seconds; the process is killed when it takes longer.

    Returns:
        The exit code (negative: the signal), stdout and stderr.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        request = {
            "arguments": arguments,
            "files": [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (given, out, err)],
            "environment": environment,
            "folder": str(Path.cwd()),
        }
        with _SERVERS.one() as server:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(f"{json.dumps(request)}\n")
            server.stdin.flush()
            timer = Timer(timeout, os.kill, (int(server.stdout.readline()), signal.SIGKILL))
            timer.start()
            code = int(server.stdout.readline())
            timer.cancel()
        return code, _read(out), _read(err)


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _serve() -> None:
    import tests.preloaded  # noqa: F401

    gc.freeze()  # a collection in a fork would copy every page that holds an object
    for line in sys.stdin:
        process = os.fork()
        if not process:
            _become(**json.loads(line))
        print(process, flush=True)  # noqa: T201
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)  # noqa: T201


def _become(arguments: list[str], files: list[str], environment: dict[str, str], folder: str) -> None:
    """In the fork: be the command, from its descriptors to its exit code."""
    from imgsearch.__main__ import run
    from tests.shared_networks import ask_the_tests

    for descriptor, (name, flags) in enumerate(zip(files, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        opened = os.open(name, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0)), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w")), encoding="utf-8")
    sys.stderr = _line_by_line(io.FileIO(2, "w"))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["imgsearch", *arguments]
    ask_the_tests()
    run()


def _line_by_line(file: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(file), encoding="utf-8", errors="backslashreplace", line_buffering=True)


if __name__ == "__main__":
    _serve()
