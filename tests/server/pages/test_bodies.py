"""Bodies are counted while they come in, and kept in memory only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
from starlette.requests import Request

from imgsearch.errors import PictureTooLarge
from imgsearch.server.errors import RequestRefused
from imgsearch.server.pages.bodies import Bodies

Receive = Callable[[], Awaitable[dict[str, Any]]]


def request(receive: Receive, length: str | None = None) -> Request:
    headers = [] if length is None else [(b"content-length", length.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def pieces(*given: bytes) -> Receive:
    """A client that sends these and no more."""
    left: Iterator[bytes] = iter(given)
    count = len(given)

    async def receive() -> dict[str, Any]:
        nonlocal count
        count -= 1
        return {"type": "http.request", "body": next(left), "more_body": count > 0}

    return receive


async def nothing() -> dict[str, Any]:
    """A client that never sends anything."""
    await anyio.sleep_forever()
    raise AssertionError


def test_pieces_are_joined() -> None:
    """However they are cut, up to the byte before the limit."""
    assert anyio.run(Bodies().read, request(pieces(b"ab", b"", b"cd")), 5) == b"abcd"
    assert anyio.run(Bodies().read, request(pieces(b"")), 5) == b""


def test_too_much_is_refused_before_all_is_read() -> None:
    """By the announced length at once, else by what has come in."""
    with pytest.raises(PictureTooLarge):
        anyio.run(Bodies().read, request(nothing, "5"), 5)
    with pytest.raises(PictureTooLarge):
        anyio.run(Bodies().read, request(pieces(b"ab", b"cde", b"never read")), 5)
    with pytest.raises(PictureTooLarge):  # it announced less
        anyio.run(Bodies().read, request(pieces(b"abcdef"), "1"), 5)


def test_a_slow_client_is_refused() -> None:
    """It holds its place no longer than allowed."""
    bodies = Bodies(seconds=0.01, at_once=1)
    for _ in range(2):
        with pytest.raises(RequestRefused, match="did not come in whole") as caught:
            anyio.run(bodies.read, request(nothing), 5)
        assert (caught.value.code, caught.value.status) == ("RequestTimeout", 408)


def test_a_client_that_leaves_is_no_error_of_ours() -> None:
    """What it had begun to send is dropped."""

    async def leaves() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(RequestRefused, match="cut off"):
        anyio.run(Bodies().read, request(leaves), 5)


def test_too_many_at_once_are_refused() -> None:
    """Together they bound the memory; afterwards there is room again."""

    async def both() -> None:
        bodies = Bodies(at_once=1)
        begun, goes_on = anyio.Event(), anyio.Event()

        async def first() -> dict[str, Any]:
            begun.set()
            await goes_on.wait()
            return {"type": "http.request", "body": b"x", "more_body": False}

        async with anyio.create_task_group() as group:
            group.start_soon(bodies.read, request(first), 5)
            await begun.wait()
            with pytest.raises(RequestRefused, match="too many pictures") as caught:
                await bodies.read(request(pieces(b"y")), 5)
            assert (caught.value.status, caught.value.retry_after) == (503, 1_000)
            goes_on.set()
        assert await bodies.read(request(pieces(b"y")), 5) == b"y"

    anyio.run(both)
