"""Protection against replayed requests: a window for dates, and a memory of nonces. Thread-safe."""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Final

from imgsearch.server.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Nonces", "check_date"]

WINDOW_SECONDS: Final = 15 * 60
KEPT_SECONDS: Final = 2 * WINDOW_SECONDS
"""A request may be dated a window ahead, and is then valid until a window after its date."""
MAX_NONCES: Final = 1_000_000
MAX_NONCE_CHARS: Final = 128


def check_date(date: datetime) -> None:
    """Refuse a request that was signed more than 15 minutes ago, or ahead.

    Raises:
        RequestRefused
    """
    now = datetime.now(UTC)
    if abs((now - date).total_seconds()) > WINDOW_SECONDS:
        raise RequestRefused(
            f"the request is dated {date:%Y-%m-%dT%H:%M:%SZ}, and it is {now:%Y-%m-%dT%H:%M:%SZ} here: the clocks may "
            "differ by 15 minutes",
            code="InvalidTimeStamp.Expired",
        )


class Nonces:
    """The nonces of the last 30 minutes, at most a million; of valid requests only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lock = Lock()

    def use(self, key_id: str, nonce: str) -> None:
        """Remember a nonce.

        Raises:
            RequestRefused: it has been used, or it is too long.
        """
        if not 1 <= len(nonce) <= MAX_NONCE_CHARS:
            raise RequestRefused(
                f"the nonce has {len(nonce)} characters; it may have 1 to {MAX_NONCE_CHARS}", code="IncompleteSignature"
            )
        now = self._clock()
        with self._lock:
            while self._seen and (
                len(self._seen) >= MAX_NONCES or next(iter(self._seen.values())) < now - KEPT_SECONDS
            ):
                self._seen.popitem(last=False)
            if (key_id, nonce) in self._seen:
                raise RequestRefused("the nonce has been used before", code="SignatureNonceUsed")
            self._seen[key_id, nonce] = now
