"""Reading from a bucket: location, listings, objects; with retries, limits of size and time, and checked bytes."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeVar

import oss2
import tenacity
import urllib3
from fastcrc import crc64

from imgsearch.errors import ImgsearchError, PictureTooLarge, RemoteUnavailable
from imgsearch.sources.oss.error_mapping import (
    BrokenBody,
    TooSlow,
    is_token_refusal,
    is_transient,
    picture_error,
    remote_error,
)
from imgsearch.sources.oss.policy import GET_LOCATION, GET_OBJECT, LIST_OBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from imgsearch.sources.oss.address import OssAddress
    from imgsearch.sources.oss.credentials import Access

__all__ = ["MAX_PAGE", "BucketReader", "Listed", "Page"]

T = TypeVar("T")
log: Final = logging.getLogger("imgsearch.oss")
log.addHandler(logging.NullHandler())  # without a log file, Python would print warnings to stderr

ATTEMPTS: Final = 6
BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 8.0
CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 10.0
"""A connection on which no byte comes for so long is given up and made again."""
BLOCK_BYTES: Final = 128 * 1024
MANIFEST_BYTES_PER_SECOND: Final = 64 * 1024
"""What a manifest of unknown size must come with at least, beside the time that an object has."""
MAX_PAGE: Final = 1000
"""Keys on a page of a listing; OSS gives no more."""
FAILURES_IN_A_ROW: Final = 50
"""So many objects that fail after all retries, with no success in between, mean that the storage is away."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing shows it."""

    key: str
    token: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a listing, by rising keys; ``complete`` when no key comes behind."""

    objects: list[Listed]
    complete: bool


class BucketReader:
    """One bucket, read by many threads at once.

    Args:
        address: what is imported.
        endpoint: address of the storage, with its scheme; buckets are part of the path where it is an IP address.
        access: who asks.
        region: for signature V4; None: signature V1.
        connections: that may be open at once.
        timeout: seconds for one object, its repetitions included.
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
        session = oss2.Session(pool_size=connections)
        session.session.auth = _as_signed
        self._bucket = oss2.Bucket(
            access.signer(region),
            endpoint,
            address.bucket,
            session=session,
            connect_timeout=(min(CONNECT_SECONDS, timeout), min(SILENCE_SECONDS, timeout)),
            region=region,
            # Bodies are checked here: oss2 prepares each check for a sixth of a millisecond, and its crcmod has no
            # wheels, so it is fifty times slower wherever no compiler was at hand.
            enable_crc=False,
        )

    def location(self) -> str:
        """The bucket's region, such as ``cn-shanghai``.

        Raises:
            RemoteError
        """
        result = self._for_run(self._bucket.get_bucket_location, GET_LOCATION)
        return str(result.location).removeprefix("oss-")

    def page(self, start_after: str = "", max_keys: int = MAX_PAGE) -> Page:
        """Objects of the folder whose keys come behind ``start_after``.

        Raises:
            RemoteError
        """
        found = self._for_run(
            lambda: self._bucket.list_objects_v2(
                prefix=self.address.prefix, start_after=start_after, max_keys=max_keys
            ),
            LIST_OBJECTS,
        )
        listed = [
            Listed(item.key, self._token(item.key, item.etag, item.size), item.size) for item in found.object_list
        ]
        return Page(listed, not found.is_truncated)

    def copy_manifest(self, write: Callable[[bytes], object], restart: Callable[[], object]) -> None:
        """Download ``increment.meta``; it is whole and checked when this returns.

        Args:
            write: takes its bytes, block by block.
            restart: called before each attempt; forgets what was written.

        Raises:
            RemoteError
            oss2.exceptions.NoSuchKey: it is not there.
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
            raise RemoteUnavailable(f"{self.address.manifest} did not come in time: {error}") from None
        except _FAULTS as error:
            raise remote_error(error, self.address, GET_OBJECT) from None

    def picture(self, key: str, max_bytes: int) -> tuple[bytes, bytes | None]:
        """The bytes of one object, and the token of this version of it.

        Raises:
            PictureTooLarge: ``max_bytes`` or more, by its header; the body is not read.
            UnreadableSource: it cannot be had.
            RemoteError: nor could any other.
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
        """The failure itself, until so many have failed by faults of the storage that it must be away."""
        if isinstance(error, TooSlow) or is_transient(error):
            self._failures += 1  # a lost count among threads only delays the end
            if self._failures >= FAILURES_IN_A_ROW:
                return remote_error(error, self.address, GET_OBJECT)
        return failure

    def _token(self, key: str, etag: str, size: int) -> bytes:
        """What is remembered of a version: a digest of where it lies, its ETag and its size.

        The same object has the same token whichever way it was seen, in a listing or with its body.
        """
        return blake2b(repr(("oss", self.address.bucket, key, etag.upper(), size)).encode(), digest_size=8).digest()

    def _for_run(self, request: Callable[[], Any], action: str) -> Any:
        """A request without which there is no going on."""
        try:
            return self._retrying(None)(self._attempt, request)
        except _FAULTS as error:
            raise remote_error(error, self.address, action) from None

    def _attempt(self, request: Callable[[], T]) -> T:
        """One attempt; a refused token is renewed, and the attempt counts as one that may be repeated."""
        try:
            return request()
        except oss2.exceptions.ServerError as error:
            if is_token_refusal(error) and self._access.renew():
                raise _Renewed(error) from None
            raise

    def _retrying(self, seconds: float | None) -> Any:
        """Repeats what fails by a transient fault, with growing pauses that differ from thread to thread."""
        stop = tenacity.stop_after_attempt(ATTEMPTS)
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, _Renewed) or is_transient(error)),
            stop=stop if seconds is None else stop | tenacity.stop_before_delay(seconds),
            wait=tenacity.wait_random_exponential(multiplier=BACKOFF_SECONDS, max=MAX_BACKOFF_SECONDS),
            before_sleep=_log_repetition,
            retry_error_callback=_raise_last,
        )

    def _receive(
        self,
        key: str,
        write: Callable[[bytes], object],
        deadline: float,
        max_bytes: int | None,
        bytes_per_second: int | None = None,
    ) -> str | None:
        """Read one object to its end; return its ETag.

        What was written is whole and has the storage's CRC-64 when this returns.
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
            # One packet at a time: a read of a whole block waits for it however slowly its bytes come.
            while block := _packet(raw):
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
            raise BrokenBody("its CRC-64 is not the storage's")
        return None if result.etag is None else str(result.etag)


def _as_signed(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from putting what a ``.netrc`` holds for this or any host in the signature's place."""
    return request


def _packet(raw: urllib3.HTTPResponse) -> bytes:
    """The bytes that have come, waiting for some; none at the end of the body.

    Raises:
        BrokenBody: the connection ended before it.
    """
    try:
        return raw.read1(BLOCK_BYTES, decode_content=False)
    except urllib3.exceptions.ProtocolError as error:
        missing = [cause for cause in error.args if isinstance(cause, urllib3.exceptions.IncompleteRead)]
        if missing:
            raise BrokenBody(f"{missing[0].partial:,} bytes came, {missing[0].expected:,} are missing") from None
        raise


class _Renewed(Exception):
    """A token was refused, and another one can be had."""


_FAULTS: Final = (oss2.exceptions.OssError, urllib3.exceptions.HTTPError, BrokenBody, TooSlow)


def _log_repetition(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.info("attempt %d failed (%s), trying again", state.attempt_number, type(error).__name__)


def _raise_last(state: tenacity.RetryCallState) -> None:
    """Raise what the last attempt met: of a token that was renewed in vain, the refusal itself."""
    assert state.outcome is not None
    error = state.outcome.exception()
    assert error is not None
    raise error.args[0] if isinstance(error, _Renewed) else error
