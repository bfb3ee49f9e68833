"""JPEGs that lack their end, as interrupted downloads leave them: shown as browsers show them, if enough is there.

With the marker that is missing, the decoder fills in what it has no data for with grey. So no switch of Pillow is
needed, which would hold for the whole process.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, cast

from imgsearch.errors import DamagedPicture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["completed", "warning_of"]

END: Final = b"\xff\xd9"
TABLES: Final = b"\xff\xc4"
"""Begins what stands before each scan of a progressive picture."""
NO_DATA: Final = (127, 128)
"""The levels of pixels for which the decoder had no data, in any colour space."""
MOST_MISSING: Final = 0.5
"""Share of a picture's rows that may be missing: of less than half a subject there is little to recognise."""
TOLD_FROM: Final = 0.005
"""The least share that is told in per cent."""


def completed(data: bytes) -> tuple[bytes, bytes]:
    """A cut-off JPEG with an end: behind its last byte, or, if it was cut between two scans, before these tables."""
    return data + END, data[: data.rfind(TABLES)] + END


def warning_of(image: Image.Image) -> str:
    """What to tell of a picture that was decoded from a completed file.

    Raises:
        DamagedPicture: more than half of its rows are missing.
    """
    missing = _grey_rows(image) / image.height
    if missing > MOST_MISSING:
        raise DamagedPicture(f"the file is cut off, {missing:.0%} of the picture is missing: get a whole copy of it")
    what = f"{missing:.0%} of the picture is" if missing >= TOLD_FROM else "the end of its data is"
    return f"the file is cut off, {what} missing: it was used as it is; get a whole copy of it"


def _grey_rows(image: Image.Image) -> int:
    """How many rows at the end are of the grey that stands for missing data."""

    def is_grey(rows: int) -> bool:
        bands = image.crop((0, image.height - rows, image.width, image.height)).split()
        extremes = [cast("tuple[int, int]", band.getextrema()) for band in bands]
        return all(NO_DATA[0] <= low and high <= NO_DATA[1] for low, high in extremes)

    # The more rows, the less likely: true up to some number, then false.
    return bisect_left(range(1, image.height + 1), True, key=lambda rows: not is_grey(rows))
