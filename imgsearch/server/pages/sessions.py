"""Sessions of people who have signed in with a key: a signed cookie, and a limit on attempts."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final

from itsdangerous import BadData, URLSafeTimedSerializer

from imgsearch.server.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from imgsearch.server.keys import AccessKey, KeyRing

__all__ = ["Attempts", "Sessions"]

SESSION_SECONDS: Final = 12 * 3600
MAX_ATTEMPTS: Final = 10
ATTEMPT_SECONDS: Final = 5 * 60
MAX_ATTEMPTS_OF_ADDRESS: Final = 100
MAX_COUNTED: Final = 8192
MAX_KEY_ID: Final = 64
MAX_ENDED: Final = 4096


class Attempts:
    """How often somebody has tried to sign in lately; thread-safe, in bounded memory.

    An address may be that of a proxy with many people behind it, so it has many more attempts than one key from there.

    Args:
        now: a clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._times: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        self._lock = Lock()

    def begin(self, address: str, key_id: str) -> None:
        """Count an attempt.

        Raises:
            RequestRefused: there were too many.
        """
        place = _neighbourhood(address)
        with self._lock:
            now = self._now()
            counted = [
                self._lately((place, ""), now, MAX_ATTEMPTS_OF_ADDRESS),
                self._lately((place, key_id[:MAX_KEY_ID]), now, MAX_ATTEMPTS),
            ]
            for times in counted:
                times.append(now)
            while len(self._times) > MAX_COUNTED:
                self._times.popitem(last=False)

    def forget(self, address: str, key_id: str) -> None:
        """An attempt was right: those before it count no more."""
        with self._lock:
            self._times.pop((_neighbourhood(address), key_id[:MAX_KEY_ID]), None)

    def _lately(self, who: tuple[str, str], now: float, limit: int) -> list[float]:
        times = self._times[who] = [when for when in self._times.pop(who, []) if now - when < ATTEMPT_SECONDS]
        if len(times) >= limit:
            wait = max(1, round(times[0] + ATTEMPT_SECONDS - now))
            raise RequestRefused(
                f"too many attempts to sign in: try again in {wait} seconds",
                code="Throttling.User",
                status=429,
                retry_after=wait * 1_000,
            )
        return times


class Sessions:
    """Signs people in and out. The secret is this process's own, so sessions end with it.

    Args:
        keys: a session ends when its key is gone or has another secret.
        secure: the cookie is for TLS only.
        now: the time in seconds since the epoch.
    """

    def __init__(self, keys: KeyRing, *, secure: bool, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._secure = secure
        self._now = now
        self._secret = secrets.token_bytes(32)
        self._signer = URLSafeTimedSerializer(
            self._secret, salt="page", signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"}
        )
        self._ended: OrderedDict[str, None] = OrderedDict()
        # A browser takes a cookie of that name from this host only, over TLS, and for all paths.
        self.cookie = "__Host-imgsearch" if secure else "imgsearch"

    def begin(self, response: Response, key: AccessKey) -> None:
        """Give the browser a session of a key."""
        document = {
            "key": key.id,
            "proof": self._proof(key),
            "session": secrets.token_hex(8),
            "until": int(self._now()) + SESSION_SECONDS,
        }
        token = self._signer.dumps(document)
        assert isinstance(token, str)
        response.set_cookie(
            self.cookie, token, max_age=SESSION_SECONDS, httponly=True, secure=self._secure, samesite="strict"
        )

    def end(self, request: Request, response: Response) -> None:
        """End the session of a request: its cookie is worth nothing any more, wherever it has gone."""
        document = self._read(request)
        if document is not None:
            self._ended[document["session"]] = None
            while len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)
        response.delete_cookie(self.cookie, httponly=True, secure=self._secure, samesite="strict")

    def key_of(self, request: Request) -> AccessKey | None:
        """The key of a request's session; None without a valid one."""
        document = self._read(request)
        if document is None:
            return None
        key = self._keys.find(document["key"])
        if key is None or not hmac.compare_digest(document["proof"], self._proof(key)):
            return None
        return key

    def _read(self, request: Request) -> dict[str, str] | None:
        token = request.cookies.get(self.cookie)
        try:
            document = self._signer.loads(token) if token else None
        except BadData:
            return None
        # Whatever is signed was made by ``begin``.
        if document is None or document["until"] <= self._now() or document["session"] in self._ended:
            return None
        return dict(document)

    def _proof(self, key: AccessKey) -> str:
        """Tells whether a key still has the secret it was used with, and nothing else of it."""
        return hmac.digest(self._secret, key.secret.encode(), "sha256").hex()[:32]


def _neighbourhood(address: str) -> str:
    """What one client has to itself: an IPv4 address, or a whole /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
