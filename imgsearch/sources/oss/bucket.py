"""Reading from a bucket: location, listings, objects; with retries, size and time limits, and checksums."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeVar
from xml.etree import ElementTree

import oss2
import tenacity
import urllib3
from fastcrc import crc64

from imgsearch.errors import ImgsearchError, PictureTooLarge, RemoteCode, RemoteError
from imgsearch.sources.bodies import (
    ATTEMPTS,
    CONNECT_SECONDS,
    SILENCE_SECONDS,
    BrokenBody,
    TooSlow,
    packet,
    retrying,
)
from imgsearch.sources.oss.error_mapping import is_token_refusal, is_transient, picture_error, remote_error
from imgsearch.sources.oss.policy import GET_LOCATION, GET_OBJECT, LIST_OBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import requests

    from imgsearch.sources.oss.address import OssAddress
    from imgsearch.sources.oss.credentials import Access

__all__ = ["MAX_PAGE", "BucketReader", "Listed", "Page"]

T = TypeVar("T")
log: Final = logging.getLogger("imgsearch.oss")
log.addHandler(logging.NullHandler())  # without a log file, Python would print warnings to stderr

MANIFEST_BYTES_PER_SECOND: Final = 64 * 1024
"""Minimum rate for a manifest, which extends the time limit of an object."""
MAX_PAGE: Final = 1000
"""Keys per page of a listing; the maximum of OSS."""
SAID_CHARACTERS: Final = 200
"""Of an answer that is quoted."""
FAILURES_IN_A_ROW: Final = 50
"""After this many failed objects without a success in between, the storage counts as unavailable."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a listing."""

    key: str
    token: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing, sorted by key; ``complete`` if it is the last one."""

    objects: list[Listed]
    complete: bool


class BucketReader:
    """A bucket, for use by many threads at once.

    Args:
        address: that is imported.
        endpoint: URL of the storage; for an IP address, the bucket is part of the path.
        access: the credentials.
        region: for signature V4; None: signature V1.
        connections: maximum number of open connections.
        timeout: seconds for one object, including retries.
    """

    def __init__(
        self,
        address: OssAddress,
        endpoint: str,
        access: Access,
        region: str | None,
        *,
        connections: int,
        timeout: float,
    ) -> None:
        self.address = address
        self._access = access
        self._timeout = timeout
        self._failures = 0
        self.connections = connections
        self.listing_failure: str | None = None
        """Why there are no listings: the storage refuses them, or answers in a form that oss2 does not understand."""
        session = oss2.Session(pool_size=connections)
        session.session.auth = _keep_signature
        self._bucket = oss2.Bucket(
            access.signer(region),
            endpoint,
            address.bucket,
            session=session,
            connect_timeout=(min(CONNECT_SECONDS, timeout), min(SILENCE_SECONDS, timeout)),
            region=region,
            # Checked here: oss2 takes a sixth of a millisecond to set up each check, and its crcmod has no wheels, so
            # it is fifty times slower if installed without a compiler.
            enable_crc=False,
        )

    def location(self) -> str:
        """The bucket's region, such as ``cn-shanghai``.

        Raises:
            RemoteError
        """
        result = self._for_run(self._bucket.get_bucket_location, GET_LOCATION)
        return str(result.location).removeprefix("oss-")

    def page(self, start_after: str = "", max_keys: int = MAX_PAGE) -> Page | None:
        """Objects of the folder with keys greater than ``start_after``; None if there are no listings.

        Raises:
            RemoteError
        """
        try:
            found = self._for_run(
                lambda: self._bucket.list_objects_v2(
                    prefix=self.address.prefix, start_after=start_after, max_keys=max_keys
                ),
                LIST_OBJECTS,
            )
        except RemoteError as error:
            if error.code not in (RemoteCode.POLICY_INSUFFICIENT, RemoteCode.ANSWER_UNKNOWN):
                raise
            self.listing_failure = error.message
            log.warning("%s; going on object by object", error.message)
            return None
        listed = [
            Listed(item.key, self._token(item.key, item.etag, item.size), item.size) for item in found.object_list
        ]
        return Page(listed, not found.is_truncated)

    def look_up(self, keys: Iterable[str]) -> dict[str, Listed]:
        """Objects as a listing would show them, requested one by one, without those that do not exist.

        Raises:
            RemoteError
        """

        def head(key: str) -> Listed | None:
            try:
                found = self._for_run(lambda: self._bucket.head_object(key), GET_OBJECT, missing=True)
            except oss2.exceptions.NotFound:
                return None
            return Listed(key, self._token(key, found.etag, found.content_length), found.content_length)

        with ThreadPoolExecutor(self.connections, thread_name_prefix="imgsearch-look-up") as pool:
            return {item.key: item for item in pool.map(head, keys) if item is not None}

    def copy_manifest(self, write: Callable[[bytes], object], restart: Callable[[], object]) -> None:
        """Download ``increment.meta``; it is complete and verified on return.

        Args:
            write: called with its bytes, block by block.
            restart: called before each attempt; discards what was written.

        Raises:
            RemoteError
            oss2.exceptions.NoSuchKey: it does not exist.
        """

        def attempt() -> None:
            restart()
            deadline = time.monotonic() + self._timeout
            self._receive(self.address.manifest_key, write, deadline, None, MANIFEST_BYTES_PER_SECOND)

        try:
            self._retrying(None)(self._attempt, attempt)
        except (ImgsearchError, oss2.exceptions.NoSuchKey):
            raise
        except TooSlow as error:
            raise RemoteError(
                f"{self.address.manifest} was not received in time: {error}", code=RemoteCode.UNAVAILABLE
            ) from None
        except _FAULTS as error:
            raise remote_error(error, self.address, GET_OBJECT) from None

    def picture(self, key: str, max_bytes: int) -> tuple[bytes, bytes | None]:
        """The bytes of an object, and the token of this version.

        Raises:
            PictureTooLarge: it has ``max_bytes`` or more; the body is not read.
            UnreadableSource: it cannot be read.
            RemoteError: no object can be read.
        """
        deadline = time.monotonic() + self._timeout

        def attempt() -> tuple[bytes, bytes | None]:
            blocks: list[bytes] = []
            etag = self._receive(key, blocks.append, deadline, max_bytes)
            data = b"".join(blocks)
            return data, None if etag is None else self._token(key, etag, len(data))

        try:
            result: tuple[bytes, bytes | None] = self._retrying(self._timeout)(self._attempt, attempt)
        except ImgsearchError:
            raise
        except _FAULTS as error:
            raise self._counted(picture_error(error, self.address), error) from None
        self._failures = 0
        return result

    def _counted(self, failure: ImgsearchError, error: BaseException) -> ImgsearchError:
        """The failure itself, or a RemoteError after too many transient failures in a row."""
        if isinstance(error, TooSlow) or is_transient(error):
            self._failures += 1  # a count lost between threads only delays the end
            if self._failures >= FAILURES_IN_A_ROW:
                return remote_error(error, self.address, GET_OBJECT)
        return failure

    def _token(self, key: str, etag: str, size: int) -> bytes:
        """The token of an object's version: a digest of bucket, key, ETag and size.

        It is the same whether computed from a listing or from a download.
        """
        return blake2b(repr(("oss", self.address.bucket, key, etag.upper(), size)).encode(), digest_size=8).digest()

    def _for_run(self, request: Callable[[], Any], action: str, *, missing: bool = False) -> Any:
        """Run a request whose failure ends the import; with ``missing``, NotFound passes."""
        try:
            return self._retrying(None)(self._attempt, request)
        except _FAULTS as error:
            if missing and isinstance(error, oss2.exceptions.NotFound) and error.code != "NoSuchBucket":
                raise
            raise remote_error(error, self.address, action) from None
        except _UNPARSABLE as error:
            said = " ".join(str(error).split())[:SAID_CHARACTERS]
            raise RemoteError(
                f"the storage's answer to {action} for {self.address} cannot be understood ({said}): check --endpoint",
                code=RemoteCode.ANSWER_UNKNOWN,
            ) from None

    def _attempt(self, request: Callable[[], T]) -> T:
        """Run one attempt; if its token is refused, renew it and request a retry."""
        try:
            return request()
        except oss2.exceptions.ServerError as error:
            if is_token_refusal(error) and self._access.renew():
                raise _Renewed(error) from None
            raise

    def _retrying(self, seconds: float | None) -> Any:
        """Retries after transient failures, with exponential, randomised pauses."""
        stop = tenacity.stop_after_attempt(ATTEMPTS)
        return retrying(
            lambda error: isinstance(error, _Renewed) or is_transient(error),
            stop if seconds is None else stop | tenacity.stop_before_delay(seconds),
            _log_repetition,
            _raise_last,
        )

    def _receive(
        self,
        key: str,
        write: Callable[[bytes], object],
        deadline: float,
        max_bytes: int | None,
        bytes_per_second: int | None = None,
    ) -> str | None:
        """Read an object completely; return its ETag.

        On return, what was written is complete and matches the storage's CRC-64.
        """
        result = self._bucket.get_object(key)
        try:
            size = result.content_length
            if max_bytes is not None and size is not None and size >= max_bytes:
                raise PictureTooLarge.of(size, max_bytes)
            if bytes_per_second is not None and size is not None:
                deadline += size / bytes_per_second
            raw = result.resp.response.raw
            checksum, received = None, 0
            while block := packet(raw):
                received += len(block)
                if max_bytes is not None and received >= max_bytes:
                    raise PictureTooLarge.of(received, max_bytes)
                if time.monotonic() > deadline:
                    raise TooSlow(f"{received:,} of {size or 0:,} bytes in {self._timeout:g} s")
                checksum = crc64.xz(block, checksum)
                write(block)
                if received == size:
                    break
        finally:
            result.close()
        if received and result.server_crc not in (None, checksum):
            raise BrokenBody("its CRC-64 differs from the storage's")
        return None if result.etag is None else str(result.etag)


def _keep_signature(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Prevent requests from replacing the signature by credentials from a ``.netrc``."""
    return request


class _Renewed(Exception):
    """A token was refused and renewed."""


_UNPARSABLE: Final = (ElementTree.ParseError, RuntimeError, ValueError, AttributeError, TypeError, KeyError)
"""What oss2 raises when the XML of an answer is not what it expects."""
_FAULTS: Final = (oss2.exceptions.OssError, urllib3.exceptions.HTTPError, BrokenBody, TooSlow)


def _log_repetition(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.info("attempt %d failed (%s), retrying", state.attempt_number, type(error).__name__)


def _raise_last(state: tenacity.RetryCallState) -> None:
    """Raise the error of the last attempt; for a renewed token, the refusal itself."""
    assert state.outcome is not None
    error = state.outcome.exception()
    assert error is not None
    raise error.args[0] if isinstance(error, _Renewed) else error
