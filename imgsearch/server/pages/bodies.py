"""Bodies of requests to the page: few at once, and no form parser, which would write large ones to disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from imgsearch.errors import PictureTooLarge
from imgsearch.server.bodies import announced_bytes, read_body
from imgsearch.server.errors import RequestRefused

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Bodies"]

BODY_SECONDS: Final = 60.0
MAX_AT_ONCE: Final = 32
"""Bodies under way; together they bound the memory that clients can fill."""


class Bodies:
    """Reads bodies; those that are too many at once are refused.

    Args:
        seconds: what a client may take to send one.
        at_once: how many may be under way.
    """

    def __init__(self, seconds: float = BODY_SECONDS, at_once: int = MAX_AT_ONCE) -> None:
        self._seconds = seconds
        self._at_once = at_once
        self._under_way = 0

    async def read(self, request: Request, max_bytes: int) -> bytes:
        """The body of a request.

        Args:
            request: not read yet.
            max_bytes: the first size that is refused.

        Raises:
            PictureTooLarge: refused without reading on, by its announced length if it has one.
            RequestRefused: too slow, cut off, or too many at once.
        """
        announced = announced_bytes(request)
        if announced >= max_bytes:
            raise PictureTooLarge.of(announced, max_bytes)
        if self._under_way >= self._at_once:
            raise RequestRefused(
                "too many pictures are being sent at once: try again", code="Throttling", status=503, retry_after=1_000
            )
        self._under_way += 1
        try:
            body, size = await read_body(request, max_bytes - 1, self._seconds)
        finally:
            self._under_way -= 1
        if size >= max_bytes:
            raise PictureTooLarge.of(size, max_bytes)
        return body
