"""The small typed records that travel from room to room: what is asked for, what is stored, what came of it."""

from __future__ import annotations

import operator
import reprlib
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, SupportsIndex

from imgsearch.errors import ImgsearchError, InvalidCategory, InvalidRegion, InvalidValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

__all__ = [
    "AddPicture",
    "Attributes",
    "Content",
    "DeletePictures",
    "Extracted",
    "Item",
    "Key",
    "Location",
    "Operation",
    "Outcome",
    "PictureOptions",
    "PictureSource",
    "Refused",
    "Region",
    "RegionMode",
    "Status",
    "Upsert",
]

MAX_ID_CHARS: Final = 512
MAX_CUSTOM_CONTENT_CHARS: Final = 4096
MAX_STR_ATTR_CHARS: Final = 128
INT32: Final = range(-(2**31), 2**31)
MAX_RESULTS: Final = 500
"""Of one query in all: an order has no more places, and no page lies behind them."""
SURE: Final = 0.98
"""Chance of the categories that are searched together."""
MAX_LIKELY: Final = 4


def whole_number(value: object) -> int | None:
    """The value as an ``int``, NumPy's integers included; None for anything else, ``bool`` included."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        return operator.index(value)
    except TypeError:  # an array, for one, can be an index in some shapes only
        return None


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """A box ``x1,x2,y1,y2`` in whole pixels of the upright picture; ``x2`` and ``y2`` are exclusive.

    Raises:
        InvalidRegion: not four whole numbers, negative, or not ``x1 < x2`` and ``y1 < y2``.
    """

    x1: int
    x2: int
    y1: int
    y2: int

    def __post_init__(self) -> None:
        for name in ("x1", "x2", "y1", "y2"):
            value = getattr(self, name)
            number = whole_number(value)
            if number is None or number < 0:
                raise InvalidRegion(f"{name} of a region is {reprlib.repr(value)}; it is a whole number of pixels")
            object.__setattr__(self, name, number)
        if self.x1 >= self.x2 or self.y1 >= self.y2:
            raise InvalidRegion(f"region {self} is empty or inverted; it needs x1 < x2 and y1 < y2 (order x1,x2,y1,y2)")

    @classmethod
    def parse(cls, text: str) -> Region:
        """Read ``x1,x2,y1,y2``.

        Raises:
            InvalidRegion: not four whole numbers, negative, or not ``x1 < x2`` and ``y1 < y2``.
        """
        parts = [part.strip() for part in text.split(",")]
        if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
            raise InvalidRegion(
                f"region {text[:60]!r} is not four whole pixel numbers 'x1,x2,y1,y2' (both x first), "
                "such as 60,410,35,380"
            )
        return cls(*(int(part) for part in parts))

    def check_within(self, width: int, height: int) -> Region:
        """Return the region itself if it lies inside a picture of that size.

        Raises:
            InvalidRegion: it does not.
        """
        if self.x2 > width or self.y2 > height:
            raise InvalidRegion(
                f"region {self} is outside the upright picture of {width} x {height} pixels; "
                f"it needs x2 <= {width} and y2 <= {height}"
            )
        return self

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """In the service's order: both x first."""
        return self.x1, self.x2, self.y1, self.y2

    def __str__(self) -> str:
        return f"{self.x1},{self.x2},{self.y1},{self.y2}"


class RegionMode(IntEnum):
    """How the region of a picture is decided (service.md, section 4); stored, so the numbers stay."""

    SUBJECT = 0
    """Crop true or unset, no region: the subject is found."""
    GIVEN = 1
    """Crop true or unset, with a region."""
    WHOLE = 2
    """Crop false: the whole picture; a region is ignored."""


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """CategoryId, Crop and Region as the caller gave them.

    Raises:
        InvalidCategory, InvalidRegion, InvalidValue: of a wrong type. Whether there is such a category, and whether the
            region lies inside the picture, is told when they are used.
    """

    category_id: int | None = None
    crop: bool = True
    region: Region | None = None

    def __post_init__(self) -> None:
        if self.category_id is not None:
            number = whole_number(self.category_id)
            if number is None:
                raise InvalidCategory(f"category {reprlib.repr(self.category_id)} is not the number of a category")
            object.__setattr__(self, "category_id", number)
        if not isinstance(self.crop, bool):
            raise InvalidValue(f"crop {reprlib.repr(self.crop)} is not True or False")
        if self.region is not None and not isinstance(self.region, Region):
            raise InvalidRegion(f"{reprlib.repr(self.region)} is not a Region, such as Region(60, 410, 35, 380)")

    @property
    def region_mode(self) -> RegionMode:
        """What Crop and Region mean together."""
        if not self.crop:
            return RegionMode.WHOLE
        return RegionMode.SUBJECT if self.region is None else RegionMode.GIVEN

    @property
    def given_region(self) -> Region | None:
        """The region that counts: none where Crop is false."""
        return self.region if self.region_mode is RegionMode.GIVEN else None


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """ProductId and PicName: what an item is known by.

    Raises:
        InvalidValue: empty, longer than 512 characters, or not valid text.
    """

    product_id: str
    pic_name: str

    def __post_init__(self) -> None:
        for value, code, name in (
            (self.product_id, "InvalidProductId", "ProductId"),
            (self.pic_name, "InvalidPicName", "PicName"),
        ):
            if not isinstance(value, str):
                raise InvalidValue(f"{name} {reprlib.repr(value)} is not text", code=code)
            check_text(value, code, name, MAX_ID_CHARS)
            if not value:
                raise InvalidValue(f"{name} is empty", code=f"NoSpecified{name}")


def check_text(value: str, code: str, name: str, limit: int) -> None:
    """Refuse what cannot be stored as text of at most ``limit`` characters.

    Raises:
        InvalidValue: with ``code``.
    """
    if len(value) > limit:
        raise InvalidValue(f"{name} has {len(value)} characters; the limit is {limit}", code=code)
    if "\x00" in value:
        raise InvalidValue(f"{name} contains a NUL character", code=code)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{name} {value!r} is not valid UTF-8; rename it or give another", code=code) from None


@dataclass(frozen=True, slots=True)
class Attributes:
    """CustomContent, IntAttr…4 and StrAttr…4; None where not set. Field names are the filter's spelling.

    Raises:
        InvalidValue: too long, out of the 32-bit range, or of another type.
    """

    custom_content: str | None = None
    int_attr: int | None = None
    int_attr2: int | None = None
    int_attr3: int | None = None
    int_attr4: int | None = None
    str_attr: str | None = None
    str_attr2: str | None = None
    str_attr3: str | None = None
    str_attr4: str | None = None

    def __post_init__(self) -> None:
        for name, value in self.columns().items():
            if value is None:
                continue
            service_name = SERVICE_NAMES[name]
            if name.startswith("int_attr"):
                number = whole_number(value)
                if number is None or number not in INT32:
                    raise InvalidValue(
                        f"{service_name} {reprlib.repr(value)} is not a 32-bit whole number", code="InvalidIntAttr"
                    )
                object.__setattr__(self, name, number)
                continue
            code, limit = (
                ("InvalidCustomContent", MAX_CUSTOM_CONTENT_CHARS)
                if name == "custom_content"
                else ("InvalidStrAttr", MAX_STR_ATTR_CHARS)
            )
            if not isinstance(value, str):
                raise InvalidValue(f"{service_name} {reprlib.repr(value)} is not text", code=code)
            check_text(value, code, service_name, limit)

    def columns(self) -> dict[str, Any]:
        """Column name to value, in storage order."""
        return {name: getattr(self, name) for name in ATTRIBUTE_COLUMNS}

    def service_fields(self) -> dict[str, Any]:
        """The service's field name to value."""
        return {SERVICE_NAMES[name]: value for name, value in self.columns().items()}

    @classmethod
    def from_service_fields(cls, document: Mapping[str, Any]) -> Attributes:
        """Pick the attributes out of a document under the service's field names."""
        return cls(**{name: document.get(SERVICE_NAMES[name]) for name in ATTRIBUTE_COLUMNS})


ATTRIBUTE_COLUMNS: Final = tuple(item.name for item in fields(Attributes))
SERVICE_NAMES: Final = {name: "".join(part.capitalize() for part in name.split("_")) for name in ATTRIBUTE_COLUMNS}
"""``int_attr2`` → ``IntAttr2``."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where the owner keeps a picture: a folder, and the path below it if that is not the PicName."""

    root: str
    relative: str | None = None

    def path(self, pic_name: str) -> Path:
        """The whole path."""
        return Path(self.root, self.relative if self.relative is not None else pic_name)


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
