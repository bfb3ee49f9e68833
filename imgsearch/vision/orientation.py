"""What the rest of the algorithm knows of a picture that is open: its upright size, and its pixels on demand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from imgsearch.values import Region

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from imgsearch.values import PictureOptions

__all__ = ["UprightPicture"]


class UprightPicture(ABC):
    """A picture whose header has been read and checked, wherever its pixels are decoded.

    Args:
        width: of the upright picture in pixels.
        height: likewise.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.warning: str | None = None
        """What is wrong with a picture that is used all the same; known once it has been decoded."""

    @property
    def whole(self) -> Region:
        """The whole upright picture."""
        return Region(0, self.width, 0, self.height)

    def given_region(self, options: PictureOptions) -> Region:
        """The part of the upright picture that the options name: the region that counts, or the whole picture.

        Raises:
            InvalidRegion: the given region is outside the picture.
        """
        region = options.given_region
        return self.whole if region is None else region.check_within(self.width, self.height)

    @abstractmethod
    def decode(self, region: Region, size: int) -> npt.NDArray[np.uint8]:
        """Decode ``region`` (pixels of the upright picture), squashed to ``size`` x ``size`` pixels of RGB.

        Returns:
            Shape (size, size, 3).

        Raises:
            DamagedPicture: the pixels cannot be decoded.
            MemoryExceeded: they do not fit into memory.
            DecoderFailed: the decoder crashed or took too long, where it has a process of its own.
        """
