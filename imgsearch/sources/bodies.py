"""Downloads in general: response bodies packet by packet, and when a failed request is repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tenacity
import urllib3

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ATTEMPTS", "CONNECT_SECONDS", "SILENCE_SECONDS", "BrokenBody", "TooSlow", "packet", "retrying"]

ATTEMPTS: Final = 6
BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 8.0
CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 10.0
"""A connection that is silent this long is closed and replaced."""
BLOCK_BYTES: Final = 128 * 1024


class BrokenBody(Exception):
    """A response body is truncated or has a wrong checksum."""


class TooSlow(Exception):
    """A response body was not complete in time."""


def packet(raw: urllib3.BaseHTTPResponse) -> bytes:
    """Received bytes, waiting for at least one; empty at the end of the body.

    Reading a whole block would wait for it, even past a deadline.

    Raises:
        BrokenBody: the connection ended early.
    """
    try:
        return raw.read1(BLOCK_BYTES, decode_content=False)
    except urllib3.exceptions.ProtocolError as error:
        missing = [cause for cause in error.args if isinstance(cause, urllib3.exceptions.IncompleteRead)]
        if missing:
            raise BrokenBody(
                f"{missing[0].partial:,} bytes were received, {missing[0].expected:,} are missing"
            ) from None
        raise


def retrying(
    is_retried: Callable[[BaseException], bool],
    stop: Any,
    before_sleep: Callable[[tenacity.RetryCallState], None],
    last: Callable[[tenacity.RetryCallState], Any],
) -> tenacity.Retrying:
    """Retries with exponential, randomised pauses.

    Args:
        is_retried: whether another attempt may succeed after this error.
        stop: when to give up; a condition of tenacity.
        before_sleep: called before each pause.
        last: called when the last attempt has failed; raises its error.
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_retried),
        stop=stop,
        wait=tenacity.wait_random_exponential(multiplier=BACKOFF_SECONDS, max=MAX_BACKOFF_SECONDS),
        before_sleep=before_sleep,
        retry_error_callback=last,
    )
