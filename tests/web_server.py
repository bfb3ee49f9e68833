"""A web server on loopback for tests: pictures in memory, counts of what it is asked for, and faults to order."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from threading import Lock

from tests.loopback_http import Handler, serving


@dataclass
class Served:
    """What lies under a path."""

    data: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "image/jpeg"
    has_etag: bool = True
    changed: float | None = None
    """For ``Last-Modified``: seconds since the epoch."""
    cut: int | None = None
    """Send only so many bytes, then close."""
    pause: float = 0.0
    """Seconds between two bytes of the body."""
    slow_headers: bool = False
    """Send headers without end, a few bytes at a time."""
    resets: bool = False


class WebServer:
    """Paths and what is served under them; ``with server.running():`` serves them.

    A path may have several answers: the last one stays.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.port = 0
        self.paths: dict[str, list[Served]] = {}
        self.counts: Counter[str] = Counter()
        self.sent = 0
        """Bytes of bodies."""
        self.headers: list[dict[str, str]] = []
        self.knows_head = True
        self.at_once = 0
        self.most_at_once = 0
        self.latency = 0.0
        self.scheme = "http"
        self.lock = Lock()
        self.on_request: Callable[[str], None] = lambda _path: None

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}:{self.port}"

    def put(self, path: str, *answers: Served | bytes) -> str:
        """Serve answers one after the other; the link."""
        self.paths[path] = [Served(answer) if isinstance(answer, bytes) else answer for answer in answers]
        return self.url + path

    @contextmanager
    def running(self, context: ssl.SSLContext | None = None) -> Iterator[WebServer]:
        self.scheme = "http" if context is None else "https"
        with serving(type("Handler", (_Handler,), {"web": self}), self.address, context) as self.port:
            yield self


class _Handler(Handler):
    web: WebServer

    def _serve(self) -> None:
        web = self.web
        with web.lock:
            web.counts[self.command] += 1
            web.counts[f"{self.command} {self.path}"] += 1
            web.headers.append(dict(self.headers.items()))
            web.at_once += 1
            web.most_at_once = max(web.most_at_once, web.at_once)
            answers = web.paths.get(self.path, [])
            served = (answers.pop(0) if len(answers) > 1 else answers[0]) if answers else Served(b"no", status=404)
        try:
            web.on_request(self.path)
            time.sleep(web.latency)
            self._answer(Served(b"", status=405) if self.command == "HEAD" and not web.knows_head else served)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with web.lock:
                web.at_once -= 1

    def _answer(self, served: Served) -> None:
        if served.resets:
            self.reset()
            return
        self.send_response(served.status)
        if served.slow_headers:
            self.flush_headers()
            for number in range(10_000):
                self.wfile.write(f"X-{number}: x\r\n".encode())
                self.wfile.flush()
                time.sleep(0.05)
        headers = {"Content-Length": str(len(served.data)), "Content-Type": served.content_type}
        if served.has_etag and served.status == 200:
            headers["ETag"] = f'"{hashlib.md5(served.data).hexdigest()}"'
        if served.changed is not None:
            headers["Last-Modified"] = formatdate(served.changed, usegmt=True)
        for name, value in (headers | served.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        data = served.data[: served.cut]
        for piece in (data[i : i + 1] for i in range(len(data))) if served.pause else (data,):
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(served.pause)
        with self.web.lock:
            self.web.sent += len(data)
        if served.cut is not None:
            self.close_connection = True
