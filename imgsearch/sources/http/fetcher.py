"""Downloading pictures into memory: redirects, retries, size and time limits, tokens."""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Self

import urllib3

from imgsearch import __version__
from imgsearch.errors import InvalidValue, PictureTooLarge, UnreadableSource
from imgsearch.sources.bodies import (
    ATTEMPTS,
    CONNECT_SECONDS,
    SILENCE_SECONDS,
    BrokenBody,
    TooSlow,
    packet,
    retrying,
)
from imgsearch.sources.http.errors import (
    FAULTS,
    BadStatus,
    TooManyRedirects,
    is_of_host,
    is_transient,
    picture_error,
)
from imgsearch.sources.http.guard import is_public, limited_to, pool_manager
from imgsearch.sources.http.hosts import PER_HOST, Deadline, Hosts, asked_pause
from imgsearch.types import Content

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import tenacity

    from imgsearch.sources.http.link import Link

__all__ = ["Fetcher", "Head"]

log: Final = logging.getLogger("imgsearch.http")
log.addHandler(logging.NullHandler())  # without a log file, Python would print warnings to stderr

MAX_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
RACY_SECONDS: Final = 2.0
"""A file changed this recently could change again without a change of its time, so it gets no token."""
HEADERS: Final = {
    "User-Agent": f"imgsearch/{__version__}",
    "Accept": "image/*, */*;q=0.5",
    "Accept-Encoding": "identity",
}
COMPRESSED: Final = frozenset({"gzip", "x-gzip", "deflate"})
GZIP_OR_ZLIB: Final = 47
PAGES: Final = (b"<!doctype html", b"<html")


@dataclass(frozen=True, slots=True)
class Head:
    """What a server says of a picture, without sending it."""

    token: bytes | None
    size: int | None


@dataclass(frozen=True, slots=True)
class _Received:
    headers: Mapping[str, str]
    data: bytes


class Fetcher:
    """Reads pictures behind links, for use by many threads at once.

    It sends no credentials, uses no proxy, and writes nothing to disk.

    Args:
        downloads: how many threads use it.
        timeout: seconds for one picture, including retries.
        is_permitted: whether an IP address may be connected to.
    """

    def __init__(
        self,
        *,
        downloads: int,
        timeout: float,
        is_permitted: Callable[[str], bool] = is_public,
    ) -> None:
        at_once = min(downloads, PER_HOST)
        self._timeout = timeout
        self._hosts = Hosts(at_once)
        self._pools = pool_manager(is_permitted, at_once)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._pools.clear()

    def head(self, link: Link) -> Head | None:
        """What the server says of a picture; None if it does not answer such questions. One attempt.

        Raises:
            UnreadableSource: the picture is not there, or cannot be reached.
        """
        host = self._hosts[link.origin]
        if host.is_given_up:
            return None
        try:
            headers = self._attempt("HEAD", link, Deadline(self._timeout), None).headers
        except BadStatus as error:
            if error.status in (404, 410):
                raise picture_error(error, link.host) from None
            return None  # not every server knows HEAD; reading will tell
        except FAULTS as error:
            raise picture_error(error, link.host) from None
        return Head(_token(link, headers), _length(headers))

    def picture(self, link: Link, max_bytes: int) -> Content:
        """The bytes of a picture, and the token of this version.

        Raises:
            PictureTooLarge: it has ``max_bytes`` or more; the rest is not read.
            UnreadableSource: it cannot be read.
        """
        host = self._hosts[link.origin]
        if host.is_given_up:
            raise UnreadableSource(
                f"{link.host} failed too often in a row and is not asked any more in this run: run again later",
                code="NetworkException",
            )
        deadline = Deadline(self._timeout)

        def too_late(state: tenacity.RetryCallState) -> bool:
            return state.attempt_number >= ATTEMPTS or deadline.left <= state.upcoming_sleep

        try:
            attempts = retrying(is_transient, too_late, _log_repetition, _raise_last)
            received: _Received = attempts(self._attempt, "GET", link, deadline, max_bytes)
        except FAULTS as error:
            host.count(failed=is_of_host(error))
            if deadline.left == 0 and is_transient(error):
                error = TooSlow(f"{self._timeout:g} s are over")
            raise picture_error(error, link.host) from None
        host.count(failed=False)
        data = _decoded(received, max_bytes)
        _check_is_no_page(received.headers, data, link.host)
        return Content(data, _token(link, received.headers))

    def _attempt(self, method: str, link: Link, deadline: Deadline, max_bytes: int | None) -> _Received:
        """Follow redirects to the picture."""
        seen = set()
        for _ in range(MAX_REDIRECTS + 1):
            if link.url in seen:
                raise TooManyRedirects("it leads back to where it came from")
            seen.add(link.url)
            found = self._request(method, link, deadline, max_bytes)
            if isinstance(found, _Received):
                return found
            try:
                link = link.joined(found)
            except InvalidValue as error:
                raise UnreadableSource(f"{link.host} redirects to an address that cannot be used: {error}") from None
        raise TooManyRedirects(f"more than {MAX_REDIRECTS} times")

    def _request(self, method: str, link: Link, deadline: Deadline, max_bytes: int | None) -> _Received | str:
        """One request; the picture, or where the server redirects to."""
        host = self._hosts[link.origin]
        with host.turn(deadline), limited_to(deadline.left):
            left = max(deadline.left, 0.001)
            pool = self._pools.connection_from_host(link.host.strip("[]"), link.port, link.scheme)
            response: Any = pool.urlopen(
                method,
                link.target,
                headers=HEADERS,
                retries=False,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, left), read=min(SILENCE_SECONDS, left)),
            )
            is_complete = False
            try:
                if deadline.left == 0:  # what was shut down while it sent headers looks complete
                    raise TooSlow(f"its headers took {self._timeout:g} s")
                status, headers = response.status, response.headers
                if status in (429, 503) and (pause := asked_pause(headers.get("Retry-After"))):
                    host.pause(pause)
                if status in REDIRECTS and "Location" in headers:
                    return str(headers["Location"])
                if status != 200:
                    raise BadStatus(status)
                data = b"" if method == "HEAD" else self._body(response, deadline, max_bytes)
                is_complete = True
                return _Received(headers, data)
            finally:
                # A body that is not read to its end would be taken for the next response.
                (response.release_conn if is_complete else response.close)()

    def _body(self, response: Any, deadline: Deadline, max_bytes: int | None) -> bytes:
        size = _length(response.headers)
        if max_bytes is not None and size is not None and size >= max_bytes:
            raise PictureTooLarge.of(size, max_bytes)
        blocks: list[bytes] = []
        received = 0
        while block := packet(response):
            received += len(block)
            if max_bytes is not None and received >= max_bytes:
                raise PictureTooLarge.of(received, max_bytes)
            if deadline.left == 0:
                raise TooSlow(f"{received:,} of {size or 'unknown'} bytes in {self._timeout:g} s")
            blocks.append(block)
        if size is None and not received:  # as if it was closed before the body, or within the headers
            raise BrokenBody("it sent nothing")
        if size is not None and received != size:
            raise BrokenBody(f"{received:,} of {size:,} bytes")
        return b"".join(blocks)


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _token(link: Link, headers: Mapping[str, str]) -> bytes | None:
    """A digest of the link, its ETag (else the time of its last change) and its length; None if there is neither.

    It is the same whether the picture was sent or only its headers.
    """
    version = headers.get("ETag") or _settled_time(headers)
    if version is None:
        return None
    facts = ("http", link.url, version.removeprefix("W/"), _length(headers))
    return blake2b(repr(facts).encode(), digest_size=8).digest()


def _settled_time(headers: Mapping[str, str]) -> str | None:
    """``Last-Modified``, unless the picture was changed just now by the server's clock."""
    changed = headers.get("Last-Modified")
    try:
        now = parsedate_to_datetime(headers.get("Date") or "")
        age = (now - parsedate_to_datetime(changed or "")).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return changed if age >= RACY_SECONDS else None


def _decoded(received: _Received, max_bytes: int) -> bytes:
    """The bytes of the picture, if a server compresses it unasked.

    Raises:
        PictureTooLarge, UnreadableSource
    """
    encoding = received.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return received.data
    if encoding not in COMPRESSED:
        raise UnreadableSource(
            f"the server sends the picture in the encoding {encoding[:20]!r}, which was not asked for"
        )
    decoder = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        data = decoder.decompress(received.data, max_bytes)
    except zlib.error:
        raise UnreadableSource("the picture's compressed transfer is damaged") from None
    if len(data) >= max_bytes:
        raise PictureTooLarge.of(len(data), max_bytes)
    return data


def _check_is_no_page(headers: Mapping[str, str], data: bytes, host: str) -> None:
    """Raise if it is a page for browsers; the type that servers declare is often wrong, so the bytes decide.

    Raises:
        UnreadableSource
    """
    begin = data[:200].lstrip().lower()
    declared = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if begin.startswith(PAGES) or (begin.startswith(b"<") and declared == "text/html"):
        raise UnreadableSource(f"{host} sends a web page, not a picture: link to the picture itself")


def _log_repetition(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.info("attempt %d failed (%s), retrying", state.attempt_number, type(error).__name__)


def _raise_last(state: tenacity.RetryCallState) -> None:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert error is not None
    raise error
