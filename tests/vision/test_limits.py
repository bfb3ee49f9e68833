"""Limits (service.md, section 3): below 8 MB, 100 px a side and 64 megapixels, or the hosted API's; each can be set."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import PictureTooLarge, UnsupportedPicPixels
from imgsearch.vision.limits import LIMIT_PROFILES, Limits

LOCAL, SERVICE = LIMIT_PROFILES["local"], LIMIT_PROFILES["service"]
MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("limits", "largest"),
    [(LOCAL, 8 * MEBIBYTE - 1), (SERVICE, 4 * MEBIBYTE), (Limits(max_bytes=10), 9)],
    ids=["local", "service", "own"],
)
def test_bytes(limits: Limits, largest: int) -> None:
    """Below 8 MB; 4 x 1024 x 1024 bytes still pass the hosted API."""
    limits.check_bytes(0)
    limits.check_bytes(largest)
    for size in (largest + 1, 10 * largest):
        with pytest.raises(PictureTooLarge) as caught:
            limits.check_bytes(size)
        assert f"{size:,}" in caught.value.message
        assert f"fewer than {largest + 1:,}" in caught.value.message
        assert "--max-bytes" in caught.value.message


@pytest.mark.parametrize(
    ("limits", "width", "height", "option"),
    [
        (LOCAL, 100, 100, None),
        (LOCAL, 8000, 8000, None),
        (LOCAL, 640_000, 100, None),
        (LOCAL, 99, 100, "--min-side"),
        (LOCAL, 100, 99, "--min-side"),
        (LOCAL, 8001, 8000, "--max-megapixels"),
        (LOCAL, 1, 10**9, "--min-side"),
        (SERVICE, 100, 100, None),
        (SERVICE, 4096, 4096, None),
        (SERVICE, 99, 4096, "--min-side"),
        (SERVICE, 4097, 100, "--max-side"),
        (SERVICE, 100, 4097, "--max-side"),
        (Limits(min_side=1), 1, 1, None),
        (Limits(min_side=1, max_side=1), 1, 2, "--max-side"),
        (Limits(max_pixels=10**10), 100_000, 100_000, None),
    ],
)
def test_pixels(limits: Limits, width: int, height: int, option: str | None) -> None:
    """Both sides count, borders included; the message names the size and the option that would let it pass."""
    if option is None:
        limits.check_pixels(width, height)
        return
    with pytest.raises(UnsupportedPicPixels) as caught:
        limits.check_pixels(width, height)
    assert f"{width} x {height}" in caught.value.message
    assert option in caught.value.message


SIDES = st.integers(0, 300)


@given(SIDES, SIDES, SIDES, st.none() | SIDES, st.integers(0, 60_000))
def test_a_picture_passes_if_and_only_if_every_limit_lets_it(
    width: int, height: int, min_side: int, max_side: int | None, max_pixels: int
) -> None:
    limits = Limits(min_side=min_side, max_side=max_side, max_pixels=max_pixels)
    sides_pass = all(min_side <= side <= (max_side if max_side is not None else side) for side in (width, height))
    try:
        limits.check_pixels(width, height)
    except UnsupportedPicPixels:
        passed = False
    else:
        passed = True
    assert passed == (sides_pass and width * height <= max_pixels)


@pytest.mark.parametrize("limits", [LOCAL, SERVICE, Limits(1, 2, 3, 4)], ids=["local", "service", "own"])
def test_survives_being_stored_as_json(limits: Limits) -> None:
    assert Limits(**json.loads(json.dumps(limits.as_dict()))) == limits
