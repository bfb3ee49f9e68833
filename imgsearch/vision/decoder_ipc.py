"""How the processes that decode are spoken with: frames of a JSON document and bytes, over a socket.

JSON and not pickle: whatever a decoder was talked into, what comes back from it is data.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket

__all__ = ["NUMBER", "Frame", "buffer_more", "receive", "receive_exactly", "send"]

LENGTHS: Final = struct.Struct(">QQ")
BUFFER_BYTES: Final = 1024 * 1024
"""A whole picture fits at once most of the time, so neither side waits for the other to take the rest."""

NUMBER: Final = struct.Struct(">i")
"""What is said to and by the process that forks: process ids, statuses of ``waitpid``, negative error numbers."""

Frame = tuple[dict[str, Any], int]
"""A document, and how many bytes follow it."""


def buffer_more(connection: socket.socket) -> None:
    """Ask for larger buffers; the system gives what it allows."""
    import socket

    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)


def send(connection: socket.socket, document: dict[str, Any], body: bytes = b"") -> None:
    """Send a document and the bytes that belong to it.

    Raises:
        OSError: the other side has gone; TimeoutError where the socket has a timeout.
    """
    text = json.dumps(document).encode()
    connection.sendall(LENGTHS.pack(len(text), len(body)) + text)
    if body:
        connection.sendall(body)


def receive(connection: socket.socket) -> Frame:
    """Wait for a document; the bytes that belong to it are still to be received.

    Raises:
        EOFError: the other side has gone.
        OSError: likewise; TimeoutError where the socket has a timeout.
    """
    lengths = bytearray(LENGTHS.size)
    receive_exactly(connection, lengths)
    text_length, body_length = LENGTHS.unpack(lengths)
    text = bytearray(text_length)
    receive_exactly(connection, text)
    return json.loads(text), body_length


def receive_exactly(connection: socket.socket, target: bytearray | memoryview) -> None:
    """Fill ``target``.

    Raises:
        EOFError: the other side has gone.
        OSError: likewise; TimeoutError where the socket has a timeout.
    """
    rest = memoryview(target)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
