"""HTTP connections with limits that uvicorn does not have: on the size of a request's head, and on its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio
    from asyncio import TimerHandle

__all__ = ["MAX_HEAD_BYTES", "BoundedProtocol"]

MAX_HEAD_BYTES: Final = 64 * 1024
HEAD_SECONDS: Final = 30.0
"""From the connection, or the first byte of a later request, to the end of the head."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Closes it if the head of a request is too long or takes too long."""

    _timer: TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time of the first head."""
        super().connection_made(transport)
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a head; pieces are at most 256 kB."""
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The head of the request is too long.")
            return
        self._head_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Start the time of a head."""
        super().on_message_begin()
        if self._timer is None:
            self._start()

    def on_headers_complete(self) -> None:
        """Stop the time of a head."""
        self._stop()
        super().on_headers_complete()

    def shutdown(self) -> None:
        """End as soon as all is answered, without waiting for an idle client to end TLS: most never look."""
        is_idle = self.cycle is None or self.cycle.response_complete
        super().shutdown()
        if is_idle and self.scheme == "https" and not self.transport.get_write_buffer_size():
            self.transport.abort()

    def _start(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop(self) -> None:
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
