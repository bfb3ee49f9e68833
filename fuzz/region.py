"""``Region.parse``, ``Region`` and ``Key``: text becomes a region that it names again, and an id; or is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fuzz.checks import check_error
from imgsearch.errors import InvalidRegion, InvalidValue
from imgsearch.values import Key, PictureOptions, Region, RegionMode, nfc


def target(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        _check_key(text)
    except InvalidValue as error:
        check_error(error)
    try:
        region = Region.parse(text)
    except InvalidRegion as error:
        check_error(error)
        return
    assert 0 <= region.x1 < region.x2
    assert 0 <= region.y1 < region.y2
    assert Region.parse(str(region)) == region
    assert region.check_within(region.x2, region.y2) == region
    assert Region(*region.bounds) == region
    _check_types(region)
    assert PictureOptions(region=region).region_mode is RegionMode.GIVEN
    _check_refused(lambda: region.check_within(region.x2 - 1, region.y2))


def _check_types(region: Region) -> None:
    """NumPy's integers are whole numbers; text, truth values and arrays are not."""
    assert Region(*map(np.int64, region.bounds)) == region
    assert PictureOptions(category_id=np.int64(region.x1)).category_id == region.x1
    for wrong in (str, bool, lambda number: np.array([number, number])):
        _check_refused(lambda: Region(*map(wrong, region.bounds)))  # noqa: B023  # called at once


def _check_refused(make: Callable[[], Region]) -> None:
    try:
        region = make()
    except InvalidRegion as error:
        check_error(error)
    else:
        raise AssertionError(f"{region} was let through")


def _check_key(text: str) -> None:
    product_id, _, pic_name = text.partition(",")
    key = Key(product_id, pic_name)
    spelled = key.spellings()
    assert spelled[0] == key
    assert len(set(spelled)) == len(spelled)
    assert {nfc(one.product_id) for one in spelled} == {nfc(product_id)}
