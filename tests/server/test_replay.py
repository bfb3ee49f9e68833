"""A request counts once, and only for a quarter of an hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from imgsearch.server import replay
from imgsearch.server.errors import RequestRefused
from imgsearch.server.replay import Nonces, check_date


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("minutes", [-14.9, 0, 14.9])
def test_a_clock_may_differ_by_15_minutes(minutes: float) -> None:
    check_date(datetime.now(UTC) + timedelta(minutes=minutes))


@pytest.mark.parametrize("minutes", [-15.1, 15.1, -10_000_000, 10_000_000])
def test_older_and_later_requests_are_refused(minutes: float) -> None:
    with pytest.raises(RequestRefused, match="clocks may differ by 15 minutes") as refusal:
        check_date(datetime.now(UTC) + timedelta(minutes=minutes))
    assert refusal.value.code == "InvalidTimeStamp.Expired"


def test_a_nonce_counts_once_for_each_key() -> None:
    nonces = Nonces()
    nonces.use("a", "1")
    nonces.use("b", "1")
    nonces.use("a", "2")
    with pytest.raises(RequestRefused) as refusal:
        nonces.use("a", "1")
    assert refusal.value.code == "SignatureNonceUsed"


@pytest.mark.parametrize("nonce", ["", "n" * 129])
def test_a_nonce_has_a_length(nonce: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        Nonces().use("a", nonce)
    assert refusal.value.code == "IncompleteSignature"


def test_nonces_are_kept_as_long_as_their_dates_are_valid() -> None:
    """A request may be dated a quarter of an hour ahead: half an hour. Behind that they are forgotten."""
    clock = Clock()
    nonces = Nonces(clock)
    nonces.use("a", "1")
    clock.now += 30 * 60 - 1
    with pytest.raises(RequestRefused):
        nonces.use("a", "1")
    clock.now += 2
    nonces.use("a", "2")
    assert len(nonces._seen) == 1
    nonces.use("a", "1")


def test_the_oldest_nonces_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded."""
    monkeypatch.setattr(replay, "MAX_NONCES", 3)
    nonces = Nonces()
    for number in range(10):
        nonces.use("a", str(number))
    assert len(nonces._seen) == 3
    with pytest.raises(RequestRefused):
        nonces.use("a", "9")
    nonces.use("a", "0")
