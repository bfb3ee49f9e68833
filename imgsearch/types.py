"""The small typed records that travel from room to room: what is asked for, what is stored, what came of it."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from imgsearch.errors import ImgsearchError, InvalidValue
from imgsearch.values import Attributes, Key, Location, PictureOptions, Region, RegionMode

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

__all__ = [
    "AddPicture",
    "Content",
    "DeletePictures",
    "Extracted",
    "Item",
    "Operation",
    "Outcome",
    "PictureSource",
    "Refused",
    "Status",
    "Upsert",
]

MAX_RESULTS: Final = 500
"""Of one query in all: an order has no more places, and no page lies behind them."""
SURE: Final = 0.98
"""Chance of the categories that are searched together."""
MAX_LIKELY: Final = 4


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of one picture, and the source's token for this very version of them (None: not to be relied on)."""

    data: bytes
    token: bytes | None = None
    is_pixels: bool = False
    """Decoded pixels, in the form of a PPM file that no stranger made (``vision/pixels.py``)."""


class PictureSource(Protocol):
    """Something that one picture can be read from."""

    def token(self) -> bytes | None:
        """A cheap fingerprint of the present version, without reading it; None where there is none.

        Two equal tokens mean equal bytes, so a picture whose stored token is the same is not read again.
        """

    def read(self, max_bytes: int) -> Content:
        """Return the bytes; called in a worker thread.

        Raises:
            PictureTooLarge: more than ``max_bytes``, found out before reading them all.
            UnreadableSource: they cannot be had.
        """


@dataclass(frozen=True, slots=True)
class AddPicture:
    """Add or replace one item."""

    source: str
    """How a person knows it: a path, a manifest line."""
    key: Key
    picture: PictureSource
    options: PictureOptions = PictureOptions()
    attributes: Attributes = Attributes()
    location: Location | None = None

    def __post_init__(self) -> None:
        for name, kind in (("key", Key), ("options", PictureOptions), ("attributes", Attributes)):
            if not isinstance(getattr(self, name), kind):
                raise InvalidValue(f"{name} is {reprlib.repr(getattr(self, name))}; it has to be of {kind.__name__}")
        if not callable(getattr(self.picture, "read", None)) or not callable(getattr(self.picture, "token", None)):
            raise InvalidValue(
                f"{reprlib.repr(self.picture)} is no source of a picture: make one of it with imgsearch.as_picture",
                code="InvalidPicContent",
            )


@dataclass(frozen=True, slots=True)
class DeletePictures:
    """Delete one picture of a product, or all of them.

    Raises:
        InvalidValue: nothing can be called so.
    """

    source: str
    product_id: str
    pic_name: str | None = None

    def __post_init__(self) -> None:
        Key(self.product_id, "any" if self.pic_name is None else self.pic_name)


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that a source found and cannot turn into an operation."""

    source: str
    error: ImgsearchError
    product_id: str | None = None
    pic_name: str | None = None

    def outcome(self) -> Outcome:
        """What becomes of it, whether or not anything is carried out."""
        return Outcome(Status.FAILED, self.source, self.product_id, self.pic_name, error=self.error)


Operation = AddPicture | DeletePictures | Refused


@dataclass(frozen=True, slots=True)
class Extracted:
    """All that is kept of a picture."""

    content_hash: bytes
    """BLAKE2b-128 of the picture's bytes: two equal ones are the identical picture."""
    token: bytes | None
    region: Region
    subjects: tuple[Region, ...]
    """All subjects that were found, the main one first (MultiRegion); empty where none were looked for."""
    category_id: int
    """As given, or the most likely one; 88888888 in a generic instance."""
    chances: tuple[tuple[int, float], ...]
    """Predicted categories with their chances, the most likely first; empty where nothing was predicted."""
    feature: npt.NDArray[np.float32]
    """Shape (dimension,), L2-normalised."""

    def likely_categories(self) -> tuple[int, ...]:
        """The categories to look in: the one in use, or as many as it takes to have the right one among them."""
        if not self.chances:
            return (self.category_id,)
        chosen: list[int] = []
        total = 0.0
        for category_id, chance in self.chances:
            chosen.append(category_id)
            total += chance
            if total >= SURE or len(chosen) == MAX_LIKELY:
                break
        return tuple(chosen)


@dataclass(frozen=True, slots=True)
class Upsert:
    """One item to be written: new, or in place of the one with the same key."""

    key: Key
    extracted: Extracted
    region_mode: RegionMode
    category_given: bool
    attributes: Attributes
    location: Location | None


@dataclass(frozen=True, slots=True)
class Item:
    """One stored picture, without its feature."""

    id: int
    key: Key
    category_id: int
    region: Region
    region_mode: RegionMode
    category_given: bool
    content_hash: bytes
    token: bytes | None
    attributes: Attributes = field(repr=False)
    location: Path | None = None
    """Where its owner kept the picture when it was added, if that was a file."""


class Status(StrEnum):
    """What became of one operation."""

    ADDED = "added"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one picture; it is committed (or refused) when the caller sees it."""

    status: Status
    source: str
    product_id: str | None
    pic_name: str | None
    category_id: int | None = None
    region: Region | None = None
    error: ImgsearchError | None = None
    count: int = 1
    """Pictures that it speaks of: of a deletion that was submitted to a ``Writer``, as many as were there."""
