"""Sessions: signed in with a key, for twelve hours at most, and only so many attempts."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from imgsearch.server.errors import RequestRefused
from imgsearch.server.keys import KeyRing
from imgsearch.server.pages.sessions import Attempts, Sessions

KEYS = '[[key]]\nid = "keeper"\nsecret = "{}"\ninstances = ["*"]\n'
SECRET = "0123456789abcdef"


class Clock:
    """Goes on when told."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    path = tmp_path / "keys.toml"
    path.write_text(KEYS.format(SECRET))
    path.chmod(0o600)
    return KeyRing(path)


def signed_in(sessions: Sessions, ring: KeyRing) -> str:
    """The ``Set-Cookie`` of a new session."""
    response = Response()
    key = ring.login("keeper", SECRET)
    assert key is not None
    sessions.begin(response, key)
    return response.headers["set-cookie"]


def request(cookie: str) -> Request:
    """One that brings a cookie, as far as browsers send it back."""
    return Request({"type": "http", "headers": [(b"cookie", cookie.partition(";")[0].encode())]})


def test_a_session_is_of_its_key(ring: KeyRing) -> None:
    """And a request without one of nobody."""
    sessions = Sessions(ring, secure=False)
    key = sessions.key_of(request(signed_in(sessions, ring)))
    assert key is not None
    assert key.id == "keeper"
    assert sessions.key_of(request("")) is None


def test_the_cookie_is_for_this_server_only(ring: KeyRing) -> None:
    """No script reads it, no other site sends it; with TLS, nothing sends it in the open."""
    cookie = signed_in(Sessions(ring, secure=False), ring)
    assert cookie.startswith("imgsearch=")
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    secure = signed_in(Sessions(ring, secure=True), ring)
    assert secure.startswith("__Host-imgsearch=")
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Secure"} <= set(secure.split("; "))
    assert SECRET not in cookie + secure


def test_forged_cookies_are_worth_nothing(ring: KeyRing) -> None:
    """Changed ones, those of another process, and whatever else."""
    sessions = Sessions(ring, secure=False)
    name, _, token = signed_in(sessions, ring).partition(";")[0].partition("=")
    other = signed_in(Sessions(ring, secure=False), ring).partition(";")[0].partition("=")[2]
    middle = len(token) // 2
    turned = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    unsigned = token.rpartition(".")[0]
    for forged in (turned, other, unsigned, f"{unsigned}.", f"x{token}", "", "....", "x" * 5000, '"\\"'):
        assert sessions.key_of(request(f"{name}={forged}")) is None, forged


def test_a_session_ends_after_twelve_hours(ring: KeyRing) -> None:
    """Whatever the browser keeps."""
    clock = Clock()
    sessions = Sessions(ring, secure=False, now=clock)
    cookie = signed_in(sessions, ring)
    clock.seconds += 12 * 3600 - 1
    assert sessions.key_of(request(cookie)) is not None
    clock.seconds += 1
    assert sessions.key_of(request(cookie)) is None


def test_a_session_ends_with_signing_out(ring: KeyRing) -> None:
    """A copy of its cookie is worth nothing any more; other sessions of the key go on."""
    sessions = Sessions(ring, secure=False)
    mine, other = signed_in(sessions, ring), signed_in(sessions, ring)
    response = Response()
    sessions.end(request(mine), response)
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert sessions.key_of(request(mine)) is None
    assert sessions.key_of(request(other)) is not None


@pytest.mark.parametrize("now", [KEYS.format("another secret of it"), KEYS.format(SECRET).replace("keeper", "other")])
def test_a_session_ends_with_its_key(ring: KeyRing, now: str) -> None:
    """When the key has another secret, or is gone."""
    sessions = Sessions(ring, secure=False)
    cookie = signed_in(sessions, ring)
    ring.path.write_text(now)
    ring.reload()
    assert sessions.key_of(request(cookie)) is None


def test_attempts_are_few() -> None:
    """Ten in five minutes from an address for a key; then the wait is told, and after it there is one again."""
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(10):
        attempts.begin("192.0.2.1", "keeper")
        clock.seconds += 1
    with pytest.raises(RequestRefused, match="try again in 290 seconds") as caught:
        attempts.begin("192.0.2.1", "keeper")
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (429, "Throttling.User", 290_000)
    attempts.begin("192.0.2.2", "keeper")
    attempts.begin("192.0.2.1", "another")
    clock.seconds += 290
    attempts.begin("192.0.2.1", "keeper")


def test_right_attempts_are_forgotten() -> None:
    """Whoever signs in often is not shut out."""
    attempts = Attempts(Clock())
    for _ in range(50):
        attempts.begin("192.0.2.1", "keeper")
        attempts.forget("192.0.2.1", "keeper")


def test_an_address_cannot_try_all_keys() -> None:
    """A hundred attempts in five minutes, whichever keys; all addresses of a network of IPv6 are one."""
    attempts = Attempts(Clock())
    for number in range(100):
        attempts.begin(f"2001:db8::{number:x}", f"key {number}")
    with pytest.raises(RequestRefused, match="too many attempts"):
        attempts.begin("2001:db8::ffff", "one more")
    attempts.begin("2001:db8:0:1::1", "one more")


def test_what_is_counted_stays_small() -> None:
    """However many addresses and keys there are."""
    attempts = Attempts(Clock())
    for number in range(20_000):
        attempts.begin(f"10.0.{number // 256}.{number % 256}", "k" * 10_000)
    assert len(attempts._times) <= 8192
    assert all(len(name) <= 64 for _, name in attempts._times)
