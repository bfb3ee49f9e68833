"""What holds for each answer of the page: headers that shut other hosts out, and no request from other sites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse

from imgsearch.server.errors import RequestRefused, retry_after, status_of
from imgsearch.server.loopback import host_name, is_loopback
from imgsearch.service.documents import error_document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.datastructures import Headers
    from starlette.requests import Request
    from starlette.responses import Response

    from imgsearch.errors import ImgsearchError

    Endpoint = Callable[[Request], Awaitable[Response]]

__all__ = ["Guard", "refusal"]

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
SAFE_METHODS: Final = ("GET", "HEAD")
OWN_SITES: Final = ("same-origin", "none")
"""Of ``Sec-Fetch-Site``: this page itself, and the address line."""


class Guard:
    """Stands around each endpoint of the page.

    Args:
        loopback_only: refuse other names of this host than loopback ones: without keys, another site could give its own
            name this address, and read all answers.
    """

    def __init__(self, *, loopback_only: bool) -> None:
        self._loopback_only = loopback_only

    def around(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint for requests that may come; all answers get the headers."""

        async def guarded(request: Request) -> Response:
            error = self._objection(request.method, request.headers)
            response = await endpoint(request) if error is None else refusal(error)
            response.headers.update(HEADERS)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return guarded

    def _objection(self, method: str, headers: Headers) -> RequestRefused | None:
        host = headers.get("host", "")
        if self._loopback_only and not is_loopback(host_name(host)):
            return RequestRefused(
                f"{host[:80]!r} is not a name of this machine itself: without keys, the page answers to localhost only",
                code="ForeignHost",
                status=403,
            )
        if not _is_own(method, headers, host):
            return RequestRefused("the request comes from another site", code="CrossSiteRequest", status=403)
        return None


def refusal(error: ImgsearchError, message: str | None = None) -> JSONResponse:
    """The answer to a request that an error ends.

    Args:
        error: its code and status are told.
        message: instead of the error's own.
    """
    document = error_document(error) | ({} if message is None else {"Message": message})
    response = JSONResponse(document, status_of(error))
    wait = retry_after(error)
    if wait is not None:
        response.headers["Retry-After"] = str(max(1, wait // 1_000))
    return response


def _is_own(method: str, headers: Headers, host: str) -> bool:
    """Whether a request comes from the page itself, as browsers tell; others send no cookie that they should not."""
    site = headers.get("sec-fetch-site")
    if method in SAFE_METHODS:
        # A link to the page may come from anywhere; what it asks for afterwards does not.
        return site is None or site in OWN_SITES or headers.get("sec-fetch-mode") == "navigate"
    if site is not None:
        return site == OWN_SITES[0]
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] == host
