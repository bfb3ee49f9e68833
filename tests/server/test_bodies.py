"""Reading bodies: what is kept and what is read of one; time and disconnects are tested with those who read them."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from imgsearch.server.bodies import announced_bytes, read_body
from tests.server.pages.test_bodies import nothing, pieces, request


@pytest.mark.parametrize(
    ("length", "told"), [(None, 0), ("5", 5), ("", 0), ("-5", 0), ("٣", 0), ("1e3", 0), ("9" * 30, int("9" * 18))]
)
def test_the_announced_length(length: str | None, told: int) -> None:
    """Only what HTTP calls a number is one."""
    assert announced_bytes(request(nothing, length)) == told


@pytest.mark.parametrize(
    ("most", "drained", "expected"),
    [
        (6, 0, (b"abcdef", 6)),
        (5, 0, (b"", 6)),
        (3, 0, (b"", 4)),  # the rest is not read
        (3, 4, (b"", 6)),
        (3, 100, (b"", 6)),
        (0, 0, (b"", 2)),
    ],
)
def test_what_is_kept_and_what_is_read(most: int, drained: int, expected: tuple[bytes, int]) -> None:
    """Of a body that is too long nothing is kept."""
    reads = partial(read_body, request(pieces(b"ab", b"cd", b"ef")), most, 10, drained=drained)
    assert anyio.run(reads) == expected
