"""Running the application: sockets, TLS, signals, logs, and a graceful end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from imgsearch.errors import UsageError
from imgsearch.server.protocol import BoundedProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from starlette.applications import Starlette

__all__ = ["Address", "bound_socket", "log_to_stderr", "make_server", "run"]

log: Final = logging.getLogger("imgsearch.server")
GRACE_SECONDS: Final = 30
"""Requests under way have so much time when the server ends."""
KEEP_ALIVE_SECONDS: Final = 20
BACKLOG: Final = 128


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens."""

    host: str
    port: int
    """0: any free one."""
    certificate: Path | None = None
    key: Path | None = None

    @property
    def secure(self) -> bool:
        """It speaks TLS."""
        return self.certificate is not None

    @property
    def scheme(self) -> str:
        """``http``, or ``https`` with a certificate."""
        return "https" if self.secure else "http"


def bound_socket(address: Address) -> socket.socket:
    """A socket that is bound, before anything else is prepared.

    Raises:
        UsageError: the address is taken, or is none of this machine.
    """
    try:
        family, *_, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        # Only of a socket with this protocol does asyncio send answers at once. Else the second part of one waits 40 ms
        # until the client acknowledges the first.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if os.name != "nt":  # there it would take an address that is in use
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(target)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise UsageError(
            f"cannot listen on {address.host}:{address.port} ({error.strerror or error}): give another --port"
        ) from None
    return bound


def make_server(
    app: Starlette, address: Address, announce: Callable[[], None], reload: Callable[[], None]
) -> uvicorn.Server:
    """The HTTP server of an application.

    Args:
        app: the application.
        address: for TLS.
        announce: called when requests are taken.
        reload: called on SIGHUP.

    Raises:
        UsageError: the certificate or its key cannot be used.
    """
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        loop="asyncio",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the certificate or its key cannot be used: {error}") from None
    return _Announcing(config, announce, reload)


def run(
    app: Starlette, address: Address, bound: socket.socket, announce: Callable[[str], None], reload: Callable[[], None]
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first. A second signal ends at once.

    Args:
        app: the application.
        address: for TLS, and to be told.
        bound: of that address.
        announce: called with a line when requests are taken.
        reload: called on SIGHUP.

    Raises:
        UsageError: the certificate or its key cannot be used.
    """
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    line = f"listening on {address.scheme}://{shown}:{port}"
    server = make_server(app, address, lambda: announce(line), reload)
    with bound, _ended_by_signals():
        server.run(sockets=[bound])


class _Announcing(uvicorn.Server):
    """Tells when requests are taken, and reads keys again on SIGHUP."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None], reload: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self._reload = reload

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End at a first signal, and at once at a second one: answers come after commits, so none is lost."""
        if self.should_exit:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread():
            with suppress(NotImplementedError, AttributeError):  # there is no such signal on Windows
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        if self.started:
            self._announce()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGINT end the server only: uvicorn sends them to the process again when it has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def log_to_stderr(*, as_json: bool) -> None:
    """Print the server's messages to stderr, in lines of text or JSON; never contents or keys."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if as_json else logging.Formatter("%(asctime)s %(message)s"))
    for name in ("imgsearch.server", "imgsearch.access", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO if name.startswith("imgsearch") and as_json else logging.WARNING)
        logger.propagate = False


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = getattr(record, "facts", {})
        document = {
            "Time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "Level": record.levelname,
            **(facts or {"Message": record.getMessage()}),
        }
        if record.exc_info:
            document["Trace"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)
