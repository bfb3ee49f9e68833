"""Decoding in processes of their own: a picture that makes a decoder crash or hang costs itself and nothing else.

Each thread that opens pictures has its decoder (``decoder``), which gets the bytes over a socket and gives pixels back;
nothing of it has a name in a file system. A decoder that breaks is replaced, and the picture tried once more in a fresh
one, since it may not be to blame: the system ends processes where memory is short.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from threading import Lock, local
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from imgsearch import errors
from imgsearch.errors import DecoderFailed, EmptyPicture, MemoryExceeded, PictureError
from imgsearch.vision.decoder_ipc import buffer_more, receive, receive_exactly, send
from imgsearch.vision.decoder_start import Forking
from imgsearch.vision.orientation import UprightPicture

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from imgsearch.values import Region
    from imgsearch.vision.limits import Limits

__all__ = ["Allowance", "Decoders"]

MEBIBYTE: Final = 1024 * 1024
MEGAPIXEL: Final = 1_000_000
CHANNELS: Final = 3
Result = TypeVar("Result")
ATTEMPTS: Final = 2
"""To start a decoder: the process that forks it may have been ended, also the one that was started ahead."""
HINT: Final = "open it in an editor and save it anew, or leave it out"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What decoding a picture may take before it is given up; far more than a whole one of its size does."""

    seconds: int = 5
    """Of processor time, for anything."""
    seconds_per_megapixel: float = 0.5
    waiting: int = 12
    """So many times as long on the clock, for a decoder that waits, or that a busy machine does not let work."""
    memory: int = 256 * MEBIBYTE
    """Bytes, for anything."""
    memory_per_byte: int = 4
    memory_per_pixel: int = 32

    def of(self, size: int, pixels: int) -> tuple[int, int]:
        """Seconds of processor time and bytes of memory for a file of ``size`` bytes and that many pixels."""
        return (
            self.seconds + round(self.seconds_per_megapixel * pixels / MEGAPIXEL),
            self.memory + self.memory_per_byte * size + self.memory_per_pixel * pixels,
        )


class _Broken(Exception):
    """A decoder is no more; the reason is for people."""


class Decoders:
    """Opens pictures in processes of their own, one for each thread that asks; they are started when first needed.

    Args:
        limits: of the instance.
        allowance: of each picture.
    """

    def __init__(self, limits: Limits, allowance: Allowance = Allowance()) -> None:
        self.limits = limits
        self.allowance = allowance
        self._own = local()
        self._lock = Lock()
        self._forking: Forking | None = None
        self._all: set[_Decoder] = set()
        self._stopped = False

    def open(self, data: bytes) -> UprightPicture:
        """Read and check a picture's header.

        Raises:
            EmptyPicture, PictureTooLarge, UnsupportedPicFormat, UnsupportedPicPixels, DamagedPicture, DecoderFailed
        """
        if not data:
            raise EmptyPicture("the file is empty")
        self.limits.check_bytes(len(data))
        return _DistantPicture(self, data)

    def stop(self) -> None:
        """End all processes, whatever they are doing; a picture that is being decoded then raises RuntimeError."""
        with self._lock:
            self._stopped = True
            if self._forking is not None:
                self._forking.close()

    def close(self) -> None:
        """Stop, and give back what is left; the threads that opened pictures must have ended."""
        self.stop()
        for decoder in self._all:
            decoder.close()
        self._all.clear()

    def decoder(self, *, fresh: bool = False) -> _Decoder:
        """The one of this thread; a new one where there is none, or where a fresh one is asked for.

        Raises:
            RuntimeError: stopped.
            OSError: no process can be started.
        """
        decoder: _Decoder | None = getattr(self._own, "decoder", None)
        if decoder is not None:
            if not fresh and not decoder.is_closed:
                return decoder
            decoder.close()
        with self._lock:
            if decoder is not None:
                self._all.discard(decoder)
            self._own.decoder = decoder = self._started()
            self._all.add(decoder)
        return decoder

    def _started(self) -> _Decoder:
        if self._stopped:
            raise RuntimeError("the decoders have been stopped")
        for _ in range(ATTEMPTS):
            if self._forking is None:
                self._forking = Forking.started()
            with suppress(EOFError):  # somebody has ended it
                return _Decoder(self._forking)
            self._forking.close()
            self._forking = None
        raise RuntimeError("the process that starts decoders ended at once")


class _DistantPicture(UprightPicture):
    """A picture that a decoder has opened."""

    def __init__(self, decoders: Decoders, data: bytes) -> None:
        self._decoders = decoders
        self._data = data
        self._pixels = 0  # not known before the header is read
        super().__init__(*self._try(self._open))
        self._pixels = self.width * self.height

    def decode(self, region: Region, size: int) -> npt.NDArray[np.uint8]:
        """See ``UprightPicture``."""

        def decode(decoder: _Decoder) -> npt.NDArray[np.uint8]:
            if decoder.holds is not self:
                self._open(decoder)
            pixels = np.empty((size, size, CHANNELS), np.uint8)
            box = (region.x1, region.x2, region.y1, region.y2)
            reply = decoder.ask({"region": box, "size": size}, self._allowed(), into=pixels)
            self.warning = None if reply["warning"] is None else str(reply["warning"])
            return pixels

        return self._try(decode)

    def _open(self, decoder: _Decoder) -> tuple[int, int]:
        decoder.holds = None
        limits = self._decoders.limits
        seconds, clock, _memory = self._allowed()
        # The decoder of WebP has its canvas made before it tells how large that is.
        memory = self._decoders.allowance.of(len(self._data), limits.max_pixels)[1]
        reply = decoder.ask({"limits": asdict(limits)}, (seconds, clock, memory), self._data)
        decoder.holds = self
        return reply["width"], reply["height"]

    def _allowed(self) -> tuple[int, int, int]:
        """Seconds of processor time, seconds on the clock, bytes of memory."""
        allowance = self._decoders.allowance
        seconds, memory = allowance.of(len(self._data), self._pixels)
        return seconds, seconds * allowance.waiting, memory

    def _try(self, work: Callable[[_Decoder], Result]) -> Result:
        """Have a decoder do it; where it breaks, or has too little memory left, once more in a fresh one."""
        try:
            return work(self._decoders.decoder())
        except (_Broken, MemoryExceeded):
            pass
        decoder = self._decoders.decoder(fresh=True)
        try:
            return work(decoder)
        except _Broken as broken:
            raise DecoderFailed(f"{broken}: {HINT}") from None
        except MemoryExceeded:
            decoder.close()  # whatever it still holds is not to be the next picture's
            raise


class _Decoder:
    """One process that decodes, as the thread sees it for which it does."""

    def __init__(self, forking: Forking) -> None:
        self._forking = forking
        self._connection, theirs = socket.socketpair()
        try:
            with theirs:
                for end in (self._connection, theirs):
                    buffer_more(end)
                self._pid = forking.fork(theirs)
        except BaseException:
            self._connection.close()
            raise
        self.holds: UprightPicture | None = None
        self.is_closed = False

    def ask(
        self,
        request: dict[str, Any],
        allowed: tuple[int, int, int],
        body: bytes = b"",
        into: npt.NDArray[np.uint8] | None = None,
    ) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Args:
            request: a document.
            allowed: seconds of processor time, seconds on the clock, bytes of memory.
            body: the bytes that belong to it.
            into: where the bytes of the answer go.

        Raises:
            PictureError: as the decoder said.
            _Broken: it is no more.
            DecoderFailed: it took too long.
        """
        seconds, clock, memory = allowed
        self._connection.settimeout(clock)
        try:
            send(self._connection, request | {"seconds": seconds, "bytes": memory}, body)
            reply, length = receive(self._connection)
            if into is not None and length == into.nbytes:
                receive_exactly(self._connection, into.data.cast("B"))
        except TimeoutError:
            self.close()
            raise DecoderFailed(f"decoding it took more than {clock} seconds: {HINT}") from None
        except (EOFError, OSError, ValueError):
            status = self.close()
            if status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
                raise DecoderFailed(f"decoding it took more than {seconds} seconds of processor time: {HINT}") from None
            raise _Broken(_told(status)) from None
        if "bug" in reply:
            raise RuntimeError(f"a decoder failed:\n{reply['bug']}")
        if "error" in reply:
            raise _as_error(reply)
        return reply

    def close(self) -> int | None:
        """End it; how it ended, as ``waitpid`` tells, None where nobody knows any more."""
        if self.is_closed:
            return None
        self.is_closed = True
        self.holds = None
        self._connection.close()
        return self._forking.end(self._pid)


def _told(status: int | None) -> str:
    """How a decoder ended, for people."""
    if status is None or not os.WIFSIGNALED(status):
        return "the process that decoded it has ended"
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL:
        return "the system ended the process that decoded it, as it does when memory is short"
    return f"it crashes its decoder ({signal.Signals(number).name})"


def _as_error(reply: dict[str, Any]) -> PictureError:
    """What a decoder refused a picture for; it names one of our classes, and no other counts."""
    kind = getattr(errors, str(reply["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, PictureError)):
        raise RuntimeError(f"a decoder answered with {str(reply)[:200]}")
    return kind(str(reply["message"]))
