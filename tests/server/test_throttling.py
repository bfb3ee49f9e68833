"""Limits per key and kind of request."""

from __future__ import annotations

import math

import pytest

from imgsearch.errors import UsageError
from imgsearch.server.errors import RequestRefused
from imgsearch.server.throttling import Limits, Throttle
from imgsearch.service.operations import OPERATIONS


class Clock:
    """Seconds that a test sets."""

    now = 50.0

    def __call__(self) -> float:
        return self.now


def count(throttle: Throttle, key: str, action: str, tries: int) -> int:
    """How many of so many requests at once are let through."""
    passed = 0
    for _ in range(tries):
        try:
            throttle.take(key, action)
        except RequestRefused:
            continue
        passed += 1
    return passed


def test_without_limits_everything_passes() -> None:
    throttle = Throttle(Limits())
    assert all(count(throttle, "a", action, 100) == 100 for action in OPERATIONS)


def test_a_second_holds_as_many_as_the_limit_says() -> None:
    clock = Clock()
    throttle = Throttle(Limits(search=5), clock)
    assert count(throttle, "a", "SearchImageByPic", 20) == 5
    clock.now += 0.5
    assert count(throttle, "a", "Detail", 20) == 2
    clock.now += 3600
    assert count(throttle, "a", "SearchImageByPic", 20) == 5


def test_keys_and_kinds_do_not_share() -> None:
    throttle = Throttle(Limits(search=3, add=2, delete=1), Clock())
    for key in ("a", "b"):
        assert count(throttle, key, "SearchImageByName", 9) == 3
        assert count(throttle, key, "AddImage", 9) == 2
        assert count(throttle, key, "UpdateImage", 9) == 0, "additions and updates share"
        assert count(throttle, key, "DeleteImage", 9) == 1


@pytest.mark.parametrize("limit", [0.1, 0.5, 2.0, 7.0])
def test_it_says_when_to_try_again(limit: float) -> None:
    """Neither earlier nor much later."""
    clock = Clock()
    throttle = Throttle(Limits(add=limit), clock)
    count(throttle, "a", "AddImage", 100)
    with pytest.raises(RequestRefused) as refusal:
        throttle.take("a", "AddImage")
    assert (refusal.value.code, refusal.value.status) == ("Throttling.User", 400)
    after = refusal.value.retry_after
    assert after is not None
    assert 0 < after <= 1000 / limit + 1
    clock.now += (after - 3) / 1000
    assert count(throttle, "a", "AddImage", 1) == 0
    clock.now += 3 / 1000
    assert count(throttle, "a", "AddImage", 1) == 1


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_a_limit_is_above_zero(limit: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        Limits(search=limit)
