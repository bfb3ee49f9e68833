"""Bodies of requests, in memory only, counted while they come in: their length need not be told, or may be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
from starlette.requests import ClientDisconnect

from imgsearch.server.errors import RequestRefused

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["announced_bytes", "read_body"]

DIGITS: Final = 18
"""Of a length: more are no length of anything."""


def announced_bytes(request: Request) -> int:
    """The length of the body as the request tells it; 0 if it does not."""
    length = request.headers.get("content-length", "")
    return int(length[:DIGITS]) if length.isascii() and length.isdigit() else 0


async def read_body(request: Request, most: int, seconds: float, *, drained: int = 0) -> tuple[bytes, int]:
    """The body of a request, and how many bytes of it have come in.

    Args:
        request: not read yet.
        most: bytes that are kept; of a longer body nothing is.
        seconds: that it may take.
        drained: bytes that are read, even if they are not kept.

    Raises:
        RequestRefused: too slow, or cut off.
    """
    pieces: list[bytes] = []
    size = 0
    try:
        with anyio.fail_after(seconds):
            async for piece in request.stream():
                size += len(piece)
                if size <= most:
                    pieces.append(piece)
                    continue
                pieces.clear()
                if size > drained:
                    break
    except TimeoutError:
        raise RequestRefused(
            f"the body did not come in whole within {seconds:g} seconds", code="RequestTimeout", status=408
        ) from None
    except ClientDisconnect:
        raise RequestRefused("the request was cut off within its body", code="IncompleteBody") from None
    return b"".join(pieces), size
