"""Limits on how often a key may ask, as the service has them. Thread-safe."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

from imgsearch.errors import UsageError
from imgsearch.server.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Limits", "Throttle"]

KINDS: Final = ("search", "add", "delete")
_KIND_OF: Final = {"AddImage": "add", "UpdateImage": "add", "DeleteImage": "delete"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests per second of one key; None: any number.

    Raises:
        UsageError: a limit that is no number above 0.
    """

    search: float | None = None
    """Of everything that reads."""
    add: float | None = None
    """Of additions and updates."""
    delete: float | None = None

    def __post_init__(self) -> None:
        for kind in KINDS:
            limit = self.of(kind)
            if limit is not None and not 0 < limit < math.inf:
                raise UsageError(f"the limit of requests of the kind '{kind}' is {limit}; it must be above 0")

    def of(self, kind: str) -> float | None:
        """The limit of a kind of request."""
        limit: float | None = getattr(self, kind)
        return limit


class Throttle:
    """Token buckets, one for each key and kind of request; each holds the requests of one second.

    Args:
        limits: per key.
        clock: in seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._lock = Lock()
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}
        """Tokens left, and when that was."""

    def take(self, key_id: str, action: str) -> None:
        """Count a request.

        Raises:
            RequestRefused: there were too many; it says when to try again.
        """
        kind = _KIND_OF.get(action, "search")
        limit = self.limits.of(kind)
        if limit is None:
            return
        now = self._clock()
        with self._lock:
            left, then = self._buckets.get((key_id, kind), (max(limit, 1.0), now))
            left = min(max(limit, 1.0), left + (now - then) * limit)
            if left < 1.0:
                self._buckets[key_id, kind] = left, now
                milliseconds = int((1.0 - left) / limit * 1000) + 1
                raise RequestRefused(
                    f"more than {limit:g} requests of the kind '{kind}' per second",
                    code="Throttling.User",
                    retry_after=milliseconds,
                )
            self._buckets[key_id, kind] = left - 1.0, now
