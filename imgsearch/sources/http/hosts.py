"""Politeness to hosts: few requests at once, pauses that a host asks for, and giving up on one that does not answer."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PER_HOST", "AskedToWait", "Deadline", "Host", "Hosts", "asked_pause"]

PER_HOST: Final = 8
"""Requests at once to one host; browsers make six."""
FAILURES_IN_A_ROW: Final = 50
"""After this many failed pictures without a success in between, nothing more is asked of a host."""


class AskedToWait(Exception):
    """A host asks for a longer pause than the time limit of a picture allows; ``args[0]``: seconds."""


class Deadline:
    """The time limit of one picture: runs from its first request on, not while it waits for its turn."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._end is None:
            self._end = time.monotonic() + self._seconds

    @property
    def left(self) -> float:
        """Seconds left, 0 at least."""
        return self._seconds if self._end is None else max(0.0, self._end - time.monotonic())


class Host:
    """One origin, for use by many threads at once."""

    def __init__(self, at_once: int) -> None:
        self._turns = BoundedSemaphore(at_once)
        self._not_before = 0.0
        self._failures = 0

    @property
    def is_given_up(self) -> bool:
        """Whether too many pictures have failed in a row."""
        return self._failures >= FAILURES_IN_A_ROW

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[None]:
        """Wait until a request may be made, and keep others waiting within the block.

        Raises:
            AskedToWait
        """
        with self._turns:
            deadline.start()
            while (pause := self._not_before - time.monotonic()) > 0:
                if pause > deadline.left:
                    raise AskedToWait(pause)
                time.sleep(pause)
            yield

    def pause(self, seconds: float) -> None:
        """Make no request for so long."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def count(self, *, failed: bool) -> None:
        """Count a picture; a count lost between threads only delays the end."""
        self._failures = self._failures + 1 if failed else 0


class Hosts:
    """All hosts of a run."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._lock = Lock()
        self._hosts: dict[str, Host] = {}

    def __getitem__(self, origin: str) -> Host:
        with self._lock:
            if origin not in self._hosts:
                self._hosts[origin] = Host(self._at_once)
            return self._hosts[origin]


def asked_pause(retry_after: str | None) -> float:
    """The seconds that a ``Retry-After`` asks for: a number or a date; 0 if it says nothing."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
