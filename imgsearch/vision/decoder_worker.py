"""The processes that decode: one that is ready, and its copies, each of which decodes the pictures of one thread.

The first loads Pillow and forks on request, so a decoder costs a millisecond and the pages that it writes to. It has
one thread and no pictures. The decoders see bytes that may have been made to break them: each works under limits of
memory and processor time, writes no core dump (there would be pixels in it), has no terminal, and says nothing on
stderr, where a decoder's library could print what a file wants it to.

Run as ``python -m imgsearch.vision.decoder_worker``, or called in a copy of a young command, with a socket as its
standard input, by ``decoder_start``.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from imgsearch import own_process
from imgsearch.errors import MemoryExceeded, PictureError
from imgsearch.values import Region
from imgsearch.vision.decoder_ipc import NUMBER, receive, receive_exactly, send
from imgsearch.vision.limits import Limits

if __name__ == "__main__":
    own_process.claim([])  # before Pillow is loaded

from imgsearch.vision.picture import OpenPicture

__all__ = ["main"]

NO_CORE_DUMP: Final = 1
"""Bytes. Linux ignores a limit of 0 where core dumps are piped to a program; 1 stops these too (fs/coredump.c)."""


def main() -> None:
    """Fork decoders until the other side hangs up, then end them all."""
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _limit(resource.RLIMIT_CORE, NO_CORE_DUMP)
    gc.collect()
    gc.freeze()  # a collection in a copy would write to every page
    decoders: set[int] = set()
    try:
        with suppress(EOFError, ConnectionError):
            while True:
                _answer(control, decoders)
    finally:
        for pid in decoders:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)  # there is nothing to tidy up, and somebody waits


def _answer(control: socket.socket, decoders: set[int]) -> None:
    """Fork a decoder on the socket that comes along; or end the one whose process id is told, and say how it ended."""
    message, descriptors, _flags, _address = socket.recv_fds(control, NUMBER.size, 1)
    if not message:
        raise EOFError
    if len(message) < NUMBER.size:
        rest = bytearray(NUMBER.size - len(message))
        receive_exactly(control, rest)
        message += rest
    (asked,) = NUMBER.unpack(message)
    if descriptors:
        try:
            answer = os.fork()
        except OSError as error:
            answer = -(error.errno or 1)
        if answer == 0:
            control.close()
            _decode_for(socket.socket(fileno=descriptors[0]))
        os.close(descriptors[0])
        if answer > 0:
            decoders.add(answer)
    else:
        os.kill(asked, signal.SIGKILL)  # of no effect on one that has ended: it is a zombie until the next line
        _pid, answer = os.waitpid(asked, 0)
        decoders.remove(asked)
    control.sendall(NUMBER.pack(answer))


def _decode_for(connection: socket.socket) -> NoReturn:
    """Answer one thread until it hangs up."""
    try:
        with suppress(EOFError, ConnectionError):
            decoder = _Decoder(connection)
            while True:
                decoder.answer()
    finally:
        os._exit(0)  # what the parent of this copy would do at its end is not to be done twice


class _Decoder:
    """Holds one picture at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._own_bytes = _address_space()
        self._picture: OpenPicture | None = None

    def answer(self) -> None:
        """Carry out one request, under its limits; what a picture is refused for is an answer, too."""
        request, length = receive(self._connection)
        self._limit(request["seconds"], request["bytes"])
        data = bytearray(length)
        receive_exactly(self._connection, data)
        reply: dict[str, Any] = {}
        body = b""
        try:
            if "limits" in request:
                self._picture = None
                self._picture = OpenPicture(bytes(data), Limits(**request["limits"]))
                reply = {"width": self._picture.width, "height": self._picture.height}
            else:
                assert self._picture is not None
                body = self._picture.decode_bytes(Region(*request["region"]), request["size"])
                reply = {"warning": self._picture.warning}
        except PictureError as error:
            reply = {"error": type(error).__name__, "message": error.message}
        except MemoryError:
            reply = {"error": MemoryExceeded.__name__, "message": "the picture takes too much memory: scale it down"}
        except Exception:
            reply = {"bug": traceback.format_exc()}
        send(self._connection, reply, body)

    def _limit(self, seconds: int, spare_bytes: int) -> None:
        """From now on, so much processor time and so much memory beyond what a decoder has anyway."""
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)
        if self._own_bytes is not None:
            _limit(resource.RLIMIT_AS, self._own_bytes + spare_bytes)


def _limit(what: int, value: int) -> None:
    """Set the limit that counts, as far as the one above it lets us."""
    _soft, hard = resource.getrlimit(what)
    value = min(value, sys.maxsize)  # of an instance whose own limits are boundless
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _address_space() -> int | None:
    """Bytes of this process's address space; None where the system does not tell (or limit) it."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return None


if __name__ == "__main__":
    main()
