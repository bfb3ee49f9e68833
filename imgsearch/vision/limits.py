"""What a picture may measure, per instance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from imgsearch.errors import PictureTooLarge, UnsupportedPicPixels

__all__ = ["LIMIT_PROFILES", "Limits"]

MEBIBYTE: Final = 1024 * 1024
MEGAPIXEL: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one picture; stored with the instance.

    ``max_bytes`` is the first size that is refused. ``max_side`` is None where only ``max_pixels`` counts.
    """

    max_bytes: int = 8 * MEBIBYTE
    min_side: int = 100
    max_side: int | None = None
    max_pixels: int = 64 * MEGAPIXEL

    def check_bytes(self, size: int) -> None:
        """Raise PictureTooLarge unless a file of ``size`` bytes is allowed."""
        if size >= self.max_bytes:
            raise PictureTooLarge.of(size, self.max_bytes)

    def check_pixels(self, width: int, height: int) -> None:
        """Raise UnsupportedPicPixels unless a picture of that size is allowed."""
        if min(width, height) < self.min_side:
            raise UnsupportedPicPixels(
                f"the picture is {width} x {height} pixels; this instance wants at least {self.min_side} a side: "
                "use a larger picture, or make an instance with a lower --min-side"
            )
        if self.max_side is not None and max(width, height) > self.max_side:
            raise UnsupportedPicPixels(
                f"the picture is {width} x {height} pixels; this instance takes at most {self.max_side} a side: "
                "scale the picture down, or make an instance with a higher --max-side"
            )
        if width * height > self.max_pixels:
            raise UnsupportedPicPixels(
                f"the picture has {width * height / MEGAPIXEL:.1f} megapixels ({width} x {height}); "
                f"the limit of this instance is {self.max_pixels / MEGAPIXEL:g}: "
                "scale the picture down, or make an instance with a higher --max-megapixels"
            )

    def as_dict(self) -> dict[str, Any]:
        """For storing as JSON."""
        return asdict(self)


LIMIT_PROFILES: Final = {
    "local": Limits(),
    # The hosted API's: 4 x 1024 x 1024 bytes still pass there, hence the one byte more.
    "service": Limits(max_bytes=4 * MEBIBYTE + 1, max_side=4096, max_pixels=4096 * 4096),
}
