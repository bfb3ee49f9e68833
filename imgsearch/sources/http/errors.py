"""What can go wrong with a link: to be tried again or not, and what is said about it."""

from __future__ import annotations

from typing import Final

import urllib3.exceptions

from imgsearch.errors import UnreadableSource
from imgsearch.sources.bodies import BrokenBody, TooSlow
from imgsearch.sources.http.guard import Forbidden
from imgsearch.sources.http.hosts import AskedToWait

__all__ = ["FAULTS", "BadStatus", "TooManyRedirects", "is_of_host", "is_transient", "picture_error"]

REPEATED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which another attempt may succeed; others of 520 and above are proxies' and count, too."""


class BadStatus(Exception):
    """A response that is neither the picture nor a redirect."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class TooManyRedirects(Exception):
    """Redirects in a circle, or more than a few."""


FAULTS: Final = (urllib3.exceptions.HTTPError, BadStatus, TooManyRedirects, BrokenBody, TooSlow, Forbidden, AskedToWait)


def is_transient(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    match error:
        case BadStatus(status=status):
            return status in REPEATED or status >= 520
        case urllib3.exceptions.SSLError() | urllib3.exceptions.LocationValueError():
            return False
        case urllib3.exceptions.HTTPError() | BrokenBody():
            return True
    return False


def is_of_host(error: BaseException) -> bool:
    """Whether the error says something about the host, not about one picture."""
    return is_transient(error) or isinstance(error, TooSlow | AskedToWait | urllib3.exceptions.SSLError)


def picture_error(error: BaseException, host: str) -> UnreadableSource:
    """The failure of one picture.

    Args:
        error: one of ``FAULTS``.
        host: that it came from; messages do not repeat links, which can be long or secret.
    """
    match error:
        case BadStatus(status=404 | 410 as status):
            return UnreadableSource(f"{host} has no such picture ({status})")
        case BadStatus(status=401 | 403 as status):
            return UnreadableSource(
                f"{host} refuses the picture ({status}); imgsearch sends no credentials", code="AccessDenied"
            )
        case BadStatus(status=status) if is_transient(error):
            return UnreadableSource(f"{host} failed every time ({status}): run again later", code="NetworkException")
        case BadStatus(status=status):
            return UnreadableSource(f"{host} answers with status {status}, not with a picture")
        case TooManyRedirects():
            return UnreadableSource(f"{host} redirects in a circle, or too often: {error}")
        case Forbidden(args=(name, address)):
            return UnreadableSource(
                f"the link leads to {name}, whose address {address} is not public: pass --allow-private to read it",
                code="AccessDenied",
            )
        case AskedToWait(args=(seconds,)):
            return UnreadableSource(
                f"{host} asks for a pause of {seconds:.0f} s, longer than --timeout allows: run again later",
                code="NetworkException",
            )
        case TooSlow():
            return UnreadableSource(f"{host} did not send the picture in time: {error}", code="TimeoutForTransferImage")
        case BrokenBody():
            return UnreadableSource(f"{host} sent the picture cut off every time: {error}", code="NetworkException")
        case urllib3.exceptions.NameResolutionError():
            return UnreadableSource(f"there is no host {host}, or its name cannot be resolved", code="NetworkException")
        case urllib3.exceptions.SSLError():
            return UnreadableSource(
                f"the certificate of {host} cannot be verified, or TLS fails: nothing was read",
                code="NetworkException",
            )
    return UnreadableSource(f"the connection to {host} failed every time ({_kind(error)})", code="NetworkException")


def _kind(error: BaseException) -> str:
    """Only the kind of an error: the text of network errors quotes links."""
    return type(error).__name__
