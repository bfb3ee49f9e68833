"""Answering searches of the user's shell with the networks that a server has loaded.

A process beside the server listens for them and is copied for each (``cli/warm_host.py``, of which only the words that
start it are known here); the copies ask this one over sockets that come along a control socket.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Connection
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import ImgsearchError
from imgsearch.server.shell_link import LISTENING, MOST_AT_ONCE, REFUSED, ByName, ByPicture, Find, networks
from imgsearch.vision.decoder_start import ONE_THREAD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from starlette.routing import BaseRoute

    from imgsearch.server.served import Instances

__all__ = ["Shell"]

log: Final = logging.getLogger("imgsearch.server")
MESSAGE_BYTES: Final = 4096
WITHOUT: Final = "searches of the shell load their own networks"


class Shell:
    """Searches of the user's shell: a part of a server (``start.Mounted``) that has no routes.

    Args:
        instances: in service.
        command: starts the process that takes the searches; its standard input is the control socket.
        announce: called with a line when searches are taken.
    """

    def __init__(self, instances: Instances, command: Sequence[str], announce: Callable[[str], None]) -> None:
        self._instances = instances
        self._command = command
        self._announce = announce
        self._networks = networks()
        self._lock = Lock()
        self._open: set[Connection] = set()
        self._is_closing = False

    def routes(self) -> list[BaseRoute]:
        """It is not reached over HTTP."""
        return []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take searches during the block; those under way at its end are finished."""
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with control:
            try:
                with theirs:
                    process = self._started(theirs.fileno())
            except OSError as error:
                log.warning("%s: %s", WITHOUT, error)
                yield
                return
            answering = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="imgsearch-shell")
            listener = Thread(target=self._listen, args=(control, answering), name="imgsearch-shell", daemon=True)
            listener.start()
            try:
                yield
            finally:
                self._hang_up()
                with suppress(OSError):  # it has ended
                    control.shutdown(socket.SHUT_RDWR)
                for wait in (process.wait, listener.join, answering.shutdown):
                    await asyncio.to_thread(wait)

    def _started(self, control: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            stdin=control,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the server, which ends the other by hanging up
            env={**os.environ, **ONE_THREAD},  # a copy of a process is only safe while that has one thread
        )

    def _hang_up(self) -> None:
        with self._lock:
            self._is_closing = True
            for connection in self._open:
                _end_reading(connection)

    def _listen(self, control: socket.socket, answering: ThreadPoolExecutor) -> None:
        with suppress(OSError):
            while True:
                message, descriptors, _flags, _address = socket.recv_fds(control, MESSAGE_BYTES, MOST_AT_ONCE)
                if not message:
                    break
                kind, text = message[:1], message[1:].decode("utf-8", "replace")
                if kind == LISTENING:
                    self._announce(f"searches of this user's shell are answered, too ({text})")
                elif kind == REFUSED:
                    log.warning("%s: %s", WITHOUT, text)
                    return
                for descriptor in descriptors:
                    answering.submit(self._answer_all, Connection(descriptor))
        with self._lock:
            is_closing = self._is_closing
        if not is_closing:
            log.warning("%s: the process that takes them has ended", WITHOUT)

    def _answer_all(self, connection: Connection) -> None:
        """Answer one copy until it hangs up; without an answer, its client goes on by itself."""
        with connection:
            with self._lock:
                self._open.add(connection)
                if self._is_closing:
                    _end_reading(connection)
            try:
                with suppress(EOFError, OSError):
                    while True:
                        connection.send(self._answer(connection.recv()))
            except Exception:
                log.exception("a search of the shell could not be answered")
            finally:
                with self._lock:
                    self._open.remove(connection)

    def _answer(self, request: Any) -> Any:
        if isinstance(request, Find):
            served = self._instances.in_folder(request.folder) if request.networks == self._networks else None
            return served is not None and served.instance.model_is_at_hand
        try:
            return True, self._searched(request)
        except ImgsearchError as error:
            return False, error

    def _searched(self, request: ByPicture | ByName) -> Any:
        served = self._instances.in_folder(request.folder)
        if served is None or served.instance.created != request.created:
            raise EOFError  # hangs up
        if isinstance(request, ByName):
            return served.lone_searcher.by_name(request.key, request.category_id, request.search)
        (result,) = served.lone_searcher.by_pictures(
            [request.picture], request.options, request.search, all_subjects=request.all_subjects
        )
        return result


def _end_reading(connection: Connection) -> None:
    """Have the thread that reads from it see its end, after the answer it may be at."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as other:
        other.shutdown(socket.SHUT_RD)
