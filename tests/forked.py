"""Commands of tests as real processes, forked from one that has imported everything.

Starting Python and importing what a command needs takes longer than most commands, and tests run more than a thousand.
A fork has its own memory, descriptors, environment, working directory and exit code. What it does not have is a start
of its own: tests of that, of signals and of kills start ``tests.conftest.command`` instead.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

__all__ = ["run_forked"]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])


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

    Raises:
        TimeoutError
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        names = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (given, out, err)]
        process = _CONTEXT.Process(target=_command, args=(arguments, names, environment, str(Path.cwd())))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"imgsearch {' '.join(arguments)} took more than {timeout} s")
        code = process.exitcode
        process.close()
        return code, _read(out), _read(err)


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _command(arguments: list[str], names: list[str], environment: dict[str, str], folder: str) -> None:
    """In the fork: become the command."""
    for descriptor, (name, flags) in enumerate(zip(names, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        opened = os.open(name, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0)), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w")), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w")), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["imgsearch", *arguments]

    from imgsearch.__main__ import run

    run()
