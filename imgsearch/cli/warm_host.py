"""The process beside a server that takes searches of its user's shell: ``python -m imgsearch.cli.warm_host``.

It has imported all that a search needs and starts no thread. For each client it forks a copy, which becomes the command
that the client was started as (``warm_command``), with a socket to the server, which has the networks.

Its standard input is a socket of the server (``server/shell.py``); it ends when that hangs up.
"""

from __future__ import annotations

import fcntl
import gc
import os
import selectors
import signal
import socket
import sys
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from imgsearch import own_process
from imgsearch.cli.warm_client import COMMAND, SUFFIX, is_private, peer_uid, places
from imgsearch.server.shell_link import LISTENING, MOST_AT_ONCE, NEW, REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COMMAND_LINE", "Host", "is_supported", "listening", "main"]

COMMAND_LINE: Final = (sys.executable, "-P", "-m", "imgsearch.cli.warm_host")
"""Starts this process. -P: a module in the folder where the user happens to be is not ours to run."""
NEEDED: Final = (
    "imgsearch.cli.warm_command",
    "imgsearch.cli.warm",
    "imgsearch.instance",
    "imgsearch.search.options",
    "imgsearch.search.ranking",
    "imgsearch.server.shell_link",
    "imgsearch.service.documents",
    "imgsearch.sources.files",
    "imgsearch.sources.stdin",
    "imgsearch.storage.engine",
    "platformdirs",
    "rich.console",
    "rich.table",
    "rich.text",
    "tomllib",
)
"""What a search imports only when it needs it."""
THREADS: Final = "/proc/self/task"
"""Has an entry for each thread of a process, on Linux."""


def is_supported() -> bool:
    """Whether this system can tell who asks, and copy a process safely."""
    return hasattr(socket, "SO_PEERCRED") and hasattr(os, "fork") and Path(THREADS).is_dir()


class Unavailable(Exception):
    """Searches cannot be taken."""


def main() -> None:
    """Take searches until the server hangs up."""
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    own_process.claim([])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a service manager sends it to all at once: the server ends this
    with suppress(ConnectionError):  # the server has ended
        try:
            command = _command()
            with listening() as (listener, address):
                control.send(LISTENING + os.fsencode(address))
                Host(control, listener, command).run()
        except Unavailable as error:
            control.send(REFUSED + str(error).encode("utf-8", "replace"))


def _command() -> Any:
    """The search command, with everything imported that it may need.

    Raises:
        Unavailable: something has started a thread.
    """
    from typer.main import get_command

    from imgsearch.cli.app import app_for
    from imgsearch.storage.sqlite.schema import expected_schema

    command: Any = get_command(app_for([COMMAND]))
    for name in NEEDED:
        import_module(name)
    command.commands[COMMAND].make_context(COMMAND, ["a.jpg"], resilient_parsing=True)  # it imports more
    expected_schema()  # each instance is compared with it
    if len(os.listdir(THREADS)) > 1:
        raise Unavailable("a library has started threads, so the process cannot be copied")
    gc.collect()
    gc.freeze()  # a collection in a copy would write to every page
    return command


@contextmanager
def listening() -> Iterator[tuple[socket.socket, Path]]:
    """A socket in a private folder, and its path; it is removed at the end.

    Raises:
        Unavailable: there is no place for it.
    """
    reasons = []
    for folder in map(Path, places()):
        try:
            listener, path = _bound(folder)
        except (OSError, Unavailable) as error:
            reasons.append(f"{folder}: {error}")
            continue
        try:
            yield listener, path
        finally:
            with suppress(OSError):
                path.unlink()
            listener.close()
        return
    raise Unavailable(f"there is no private folder for a socket ({'; '.join(reasons)})")


def _bound(folder: Path) -> tuple[socket.socket, Path]:
    folder.mkdir(0o700, exist_ok=True)
    if not is_private(str(folder)):
        raise Unavailable("it is not a folder of this user alone")
    path = folder / f"{os.getpid()}{SUFFIX}"
    # One at a time: between its binding and its listening, a socket looks like a leftover.
    with open(folder / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob(f"*{SUFFIX}"):
            if not _is_answered(leftover):
                leftover.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            before = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(before)
            listener.listen(MOST_AT_ONCE)
        except OSError:
            listener.close()
            raise
    return listener, path


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        try:
            connection.connect(str(path))
        except BlockingIOError:  # it has a queue
            return True
        except OSError:
            return False
    return True


class Host:
    """Copies this process for each client.

    Args:
        control: of the server.
        listener: where clients connect.
        command: what a copy runs.
    """

    def __init__(self, control: socket.socket, listener: socket.socket, command: Any) -> None:
        self._control = control
        self._listener = listener
        self._command = command
        self._copies = 0

    def run(self) -> None:
        """Take clients until the server hangs up."""
        ended, told = socket.socketpair()
        told.setblocking(False)
        signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it is written to that
        with selectors.DefaultSelector() as selector, ended, told:
            for one in (self._control, self._listener, ended):
                selector.register(one, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._control in ready:
                    return
                if ended in ready:
                    ended.recv(MOST_AT_ONCE)
                    self._reap()
                if self._listener in ready:
                    with suppress(ConnectionError):  # a client that has left already
                        connection, _ = self._listener.accept()
                        with connection:
                            self._take(connection)

    def _reap(self) -> None:
        while self._copies and os.waitpid(-1, os.WNOHANG)[0]:
            self._copies -= 1

    def _take(self, connection: socket.socket) -> None:
        """Copy this process for one client; one that is not of this user, or one too many, is hung up on."""
        if self._copies >= MOST_AT_ONCE or peer_uid(connection) != os.geteuid():
            return
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                pid = os.fork()
            except OSError:  # the client goes on by itself
                return
            if pid:
                self._copies += 1
                socket.send_fds(self._control, [NEW], [theirs.fileno()])
                return
            try:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                for one in (theirs, self._listener, self._control):
                    one.close()
                from imgsearch.cli.warm_command import become

                become(connection, ours, self._command)
            finally:
                os._exit(1)


if __name__ == "__main__":
    main()
