"""Who sends a request: its signature, date and nonce are checked before anything is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgsearch.server.errors import RequestRefused
from imgsearch.server.keys import ANYBODY
from imgsearch.server.replay import Nonces, check_date
from imgsearch.server.signatures import read_signature

if TYPE_CHECKING:
    from imgsearch.server.keys import AccessKey, KeyRing
    from imgsearch.server.signatures import Received

__all__ = ["Authentication"]

BROWSERS_HEADERS = frozenset({"origin", "sec-fetch-site"})
"""Browsers send at least one of them with a form that a page posts, and no SDK does. Their values do not matter: any
page may post to this machine, under any name that it gives it."""
TOKEN_HEADER = "x-acs-security-token"  # noqa: S105  # the name of a header


class Authentication:
    """Checks requests; thread-safe.

    Args:
        keys: that may sign; None: anybody may ask, signed or not.
    """

    def __init__(self, keys: KeyRing | None) -> None:
        self._keys = keys
        self._nonces = Nonces()

    def check(self, request: Received) -> AccessKey:
        """The key that signed a request.

        Raises:
            RequestRefused: not signed, malformed, of an unknown key, wrong, too old, or sent before; without keys: sent
                by a page in a browser.
        """
        if self._keys is None:
            if not BROWSERS_HEADERS.isdisjoint(request.headers):
                raise RequestRefused(
                    "the request comes from a page in a browser: without keys, programs only are answered here",
                    code="CrossSiteRequest",
                    status=403,
                )
            return ANYBODY
        if request.headers.get(TOKEN_HEADER):
            raise RequestRefused(
                "security tokens are not accepted here: use an access key", code="InvalidSecurityToken"
            )
        signature = read_signature(request)
        check_date(signature.date)  # before megabytes are quoted
        key = self._keys.find_or_dummy(signature.key_id)
        text = signature.text()
        is_valid = signature.is_valid(key.secret, text)
        if key.id != signature.key_id:
            raise RequestRefused(
                f"there is no access key {signature.key_id!r}", code="InvalidAccessKeyId.NotFound", status=404
            )
        if not is_valid:
            shown = text if len(text) <= 4096 else f"{text[:4096]}…"
            raise RequestRefused(
                f"the signature does not match; server string to sign is:{shown}", code="SignatureDoesNotMatch"
            )
        if signature.nonce is not None:
            self._nonces.use(key.id, signature.nonce)
        return key
