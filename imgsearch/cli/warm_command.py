"""Becoming the command that a client was started as, in a copy of a process that has imported everything.

A copy takes over all that a process of its own would have: words, environment, working folder and streams. So the
command is the ordinary one, and what it prints goes where the client's output goes. Only the networks are the server's.
"""

from __future__ import annotations

import fcntl
import io
import os
import signal
import socket
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final, NoReturn

from imgsearch import own_process
from imgsearch.cli import warm
from imgsearch.cli.errors import INTERRUPTED, exit_code_of
from imgsearch.cli.warm_client import BEGUN, ENDED, GO, INTERRUPT, LENGTH_BYTES, TAKEN, setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Request", "become"]

SECONDS: Final = 5.0
"""For a client to say what it wants: it has it all at hand."""
MOST_BYTES: Final = 16 * 1024 * 1024
"""More than words and environment of a process can have."""
DESCRIPTORS: Final = 4
"""Stdin, stdout, stderr and the working folder."""


def become(connection: socket.socket, server: socket.socket, command: Any) -> NoReturn:
    """Run the command of a client, and end with it.

    Args:
        connection: to the client.
        server: to the server, which has the networks.
        command: runs a command line.
    """
    connection.settimeout(SECONDS)
    request = Request.received(connection)
    if request is None:
        warm.give_up()
    client = _Client(connection)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, request.streams[number].opened(number, client.begin))
    os.umask(request.umask)
    os.environb.clear()
    os.environb.update(request.environment)
    sys.argv = ["imgsearch", *request.words]
    own_process.claim(request.words)
    warm.answer_with(Connection(server.detach()), client.take)
    code = own_process.exit_code(lambda: _run(command, request.words))
    client.end(code)
    os._exit(code)


def _run(command: Any, words: list[str]) -> None:
    try:
        sys.exit(exit_code_of(command, words))
    except KeyboardInterrupt:  # before a command started
        sys.exit(INTERRUPTED)


@dataclass(frozen=True, slots=True)
class _Stream:
    """How a standard stream of the client treats text."""

    encoding: str
    errors: str
    line_buffering: bool
    write_through: bool

    def opened(self, number: int, begin: Callable[[], None]) -> io.TextIOWrapper:
        """The same stream here; ``begin`` is called before anything is read or written."""
        if number == 0:
            return io.TextIOWrapper(io.BufferedReader(_Telling(0, "r", begin)), self.encoding, self.errors)
        return io.TextIOWrapper(
            io.BufferedWriter(_Telling(number, "w", begin)),
            self.encoding,
            self.errors,
            line_buffering=self.line_buffering,
            write_through=self.write_through,
        )


class _Telling(io.FileIO):
    """A descriptor; its first use is told."""

    def __init__(self, number: int, mode: str, begin: Callable[[], None]) -> None:
        super().__init__(number, mode, closefd=False)
        self._begin = begin

    def write(self, data: Any, /) -> int:
        self._begin()
        return super().write(data)

    def readinto(self, buffer: Any, /) -> int:
        self._begin()
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self._begin()
        return super().readall()


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sends: all that a process inherits, besides its descriptors."""

    umask: int
    streams: list[_Stream]
    words: list[str]
    environment: dict[bytes, bytes]

    @classmethod
    def received(cls, connection: socket.socket) -> Request | None:
        """The request of a client, whose descriptors and working folder are this process's from now on.

        None if it is of another setting (``warm_client.setting``), or none at all.
        """
        try:
            head, descriptors, _flags, _address = socket.recv_fds(connection, LENGTH_BYTES, DESCRIPTORS)
            length = int.from_bytes(head + _exactly(connection, LENGTH_BYTES - len(head)), "big")
            if len(descriptors) != DESCRIPTORS or length > MOST_BYTES:
                return None
            request = cls.parsed(_exactly(connection, length))
            if request is not None:
                for number, descriptor in enumerate(descriptors[:3]):
                    os.dup2(descriptor, number)
                os.fchdir(descriptors[3])
                for descriptor in descriptors:
                    os.close(descriptor)
        except (EOFError, OSError):
            return None
        return request

    @classmethod
    def parsed(cls, body: bytes) -> Request | None:
        """The fields of ``warm_client``; None if they are of another setting, or not well formed."""
        fields = iter(body.split(b"\0"))
        try:
            if list(_several(fields)) != setting():
                return None
            umask = _number(next(fields), 0o777)
            streams = [_stream(next(fields), next(fields), next(fields)) for _ in range(3)]
            words = [os.fsdecode(word) for word in _several(fields)]
            pairs = (field.partition(b"=") for field in fields)
            return cls(umask, streams, words, {name: value for name, _, value in pairs if name})
        except (ValueError, LookupError, StopIteration, RuntimeError):
            return None


def _several(fields: Iterator[bytes]) -> list[bytes]:
    """As many fields as the next one says."""
    return [next(fields) for _ in range(_number(next(fields), MOST_BYTES))]


def _number(field: bytes, most: int) -> int:
    number = int(field)
    if not 0 <= number <= most:
        raise ValueError(number)
    return number


def _stream(encoding: bytes, errors: bytes, flags: bytes) -> _Stream:
    line_buffering, write_through = (bool(b"01".index(flag)) for flag in flags)
    name = encoding.decode("ascii")
    "".encode(name)  # a LookupError if there is no such encoding
    return _Stream(name, errors.decode("ascii"), line_buffering, write_through)


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        part = connection.recv(min(count - len(received), 1024 * 1024))
        if not part:
            raise EOFError
        received += part
    return bytes(received)


class _Client:
    """The client, told what has happened; it decides by that whether it could still go on by itself."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._is_taken = self._has_begun = False

    def take(self) -> None:
        """Have the client leave the search to this process; ends it if that has gone on by itself."""
        if self._is_taken:
            return
        self._tell(TAKEN)
        try:
            answer = self._connection.recv(len(GO))
        except OSError:
            warm.give_up()
        if answer != GO:
            warm.give_up()
        self._is_taken = True
        self._connection.setblocking(False)
        signal.signal(signal.SIGIO, self._heard)
        number = self._connection.fileno()
        fcntl.fcntl(number, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(number, fcntl.F_SETFL, fcntl.fcntl(number, fcntl.F_GETFL) | os.O_ASYNC)
        self._heard()  # what came before

    def _heard(self, *_signal: object) -> None:
        """Do what Ctrl-C does if the client says so, and end if it has ended."""
        try:
            message = self._connection.recv(len(INTERRUPT))
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if message == INTERRUPT:
            raise KeyboardInterrupt
        warm.give_up()

    def begin(self) -> None:
        """Tell that something is printed or read now."""
        self.take()
        if not self._has_begun:
            self._has_begun = True
            self._tell(BEGUN)

    def end(self, code: int) -> None:
        """Tell the exit code."""
        self.take()
        self._tell(ENDED + bytes([code]))

    def _tell(self, message: bytes) -> None:
        try:
            self._connection.sendall(message)
        except OSError:  # it has ended
            warm.give_up()
