"""``Region.parse``: text becomes a region that it names again, or is refused as such."""

from __future__ import annotations

from fuzz.checks import check_error
from imgsearch.errors import InvalidRegion
from imgsearch.values import Region


def target(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        region = Region.parse(text)
    except InvalidRegion as error:
        check_error(error)
        return
    assert 0 <= region.x1 < region.x2
    assert 0 <= region.y1 < region.y2
    assert Region.parse(str(region)) == region
    assert region.check_within(region.x2, region.y2) == region
    try:
        region.check_within(region.x2 - 1, region.y2)
    except InvalidRegion as error:
        check_error(error)
    else:
        raise AssertionError("a region outside was let through")
