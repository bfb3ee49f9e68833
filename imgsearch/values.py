"""Input values: keys, regions, attributes, picture options. Each is validated on construction.

Whole numbers may be NumPy's; they become Python's own.
"""

from __future__ import annotations

import operator
import os
import re
import reprlib
import unicodedata
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, SupportsIndex

from imgsearch.errors import InvalidCategory, InvalidRegion, InvalidValue, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "ATTRIBUTE_COLUMNS",
    "CODINGS",
    "DEFAULT_CODING",
    "SERVICE_NAMES",
    "Attributes",
    "FeatureCoding",
    "Key",
    "Location",
    "PictureOptions",
    "Region",
    "RegionMode",
    "nfc",
    "spellings",
]

MAX_ID_CHARS: Final = 512
MAX_CUSTOM_CONTENT_CHARS: Final = 4096
MAX_STR_ATTR_CHARS: Final = 128
FeatureCoding = Literal["floats", "8-bit", "4-bit", "codes"]
"""How precisely the numbers of a feature are kept."""
CODINGS: Final[dict[str, int]] = {"floats": 16, "8-bit": 8, "4-bit": 4, "codes": 2}
"""Bits of each number."""
DEFAULT_CODING: Final[FeatureCoding] = "floats"
INT32: Final = range(-(2**31), 2**31)
_BOUNDS: Final = re.compile(",".join([r"\s*([0-9]{1,9})\s*"] * 4))


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


def several_paths(values: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The paths, of which there are several; a single one would be taken for its letters.

    Raises:
        UsageError
    """
    if isinstance(values, str | bytes | os.PathLike):
        raise UsageError("expected several paths, not a single one: pass a list, such as [path]")
    return list(map(Path, values))


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
        for name, value in zip(("x1", "x2", "y1", "y2"), self.bounds, strict=True):
            if type(value) is int and value >= 0:
                continue
            number = whole_number(value)
            if number is None or number < 0:
                raise InvalidRegion(f"{name} of a region is {reprlib.repr(value)}; it is a whole number of pixels")
            object.__setattr__(self, name, number)
        if self.x1 >= self.x2 or self.y1 >= self.y2:
            raise InvalidRegion(f"region {self} is empty or inverted; it needs x1 < x2 and y1 < y2 (order x1,x2,y1,y2)")

    @classmethod
    def parse(cls, text: str) -> Region:
        """Parse ``x1,x2,y1,y2``.

        Raises:
            InvalidRegion: not four whole numbers, negative, or not ``x1 < x2`` and ``y1 < y2``.
        """
        parts = _BOUNDS.fullmatch(text)
        if parts is None:
            raise InvalidRegion(
                f"region {text[:60]!r} is not four whole pixel numbers 'x1,x2,y1,y2' (both x first), "
                "such as 60,410,35,380"
            )
        return cls(*map(int, parts.groups()))

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
        """The bounds in the service's order: x first."""
        return self.x1, self.x2, self.y1, self.y2

    def __str__(self) -> str:
        return f"{self.x1},{self.x2},{self.y1},{self.y2}"


class RegionMode(IntEnum):
    """How the region of a picture is chosen (service.md, section 4); stored, so the numbers must not change."""

    SUBJECT = 0
    """Crop true or unset, no region: the subject is detected."""
    GIVEN = 1
    """Crop true or unset, with a region."""
    WHOLE = 2
    """Crop false: the whole picture; a region is ignored."""


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """CategoryId, Crop and Region as given by the caller.

    Raises:
        InvalidCategory, InvalidRegion, InvalidValue: wrong type. On use it is checked whether the category exists and
            the region is inside the picture.
    """

    category_id: int | None = None
    crop: bool = True
    region: Region | None = None

    def __post_init__(self) -> None:
        if self.category_id is not None:
            number = whole_number(self.category_id)
            if number is None:
                raise InvalidCategory(f"category {reprlib.repr(self.category_id)} is not a category number")
            object.__setattr__(self, "category_id", number)
        if not isinstance(self.crop, bool):
            raise InvalidValue(f"crop {reprlib.repr(self.crop)} is not True or False")
        if self.region is not None and not isinstance(self.region, Region):
            raise InvalidRegion(f"{reprlib.repr(self.region)} is not a Region, such as Region(60, 410, 35, 380)")

    @property
    def region_mode(self) -> RegionMode:
        """The mode that follows from Crop and Region."""
        if not self.crop:
            return RegionMode.WHOLE
        return RegionMode.SUBJECT if self.region is None else RegionMode.GIVEN

    @property
    def given_region(self) -> Region | None:
        """The effective region: None if Crop is false."""
        return self.region if self.region_mode is RegionMode.GIVEN else None


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """ProductId and PicName, which identify an item.

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

    def spellings(self) -> list[Key]:
        """This key, and those that differ from it only by the spelling of accents; itself first."""
        if self.product_id.isascii() and self.pic_name.isascii():
            return [self]
        pairs = ((product, name) for product in spellings(self.product_id) for name in spellings(self.pic_name))
        return [Key(*pair) for pair in pairs if max(map(len, pair)) <= MAX_ID_CHARS]


def nfc(text: str) -> str:
    """A text with composed characters (Unicode normalisation form C), as most systems spell names."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def spellings(text: str) -> tuple[str, ...]:
    """A text, and the same text with composed and with decomposed characters; itself first, none twice."""
    if text.isascii():
        return (text,)
    return tuple(dict.fromkeys((text, nfc(text), unicodedata.normalize("NFD", text))))


def check_text(value: str, code: str, name: str, limit: int) -> None:
    """Raise if a value cannot be stored as text of at most ``limit`` characters.

    Raises:
        InvalidValue: with ``code``.
    """
    if len(value) > limit:
        raise InvalidValue(f"{name} has {len(value)} characters; the limit is {limit}", code=code)
    if "\x00" in value:
        raise InvalidValue(f"{name} contains a NUL character", code=code)
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{name} {value!r} is not valid UTF-8; rename it or use another", code=code) from None


@dataclass(frozen=True, slots=True)
class Attributes:
    """CustomContent, IntAttr…4 and StrAttr…4; None if unset. Field names are those of filters.

    Raises:
        InvalidValue: too long, out of the 32-bit range, or of a wrong type.
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
        for name in ATTRIBUTE_COLUMNS:
            value = getattr(self, name)
            if value is None:
                continue
            service_name = SERVICE_NAMES[name]
            if name.startswith("int_attr"):
                number = whole_number(value)
                if number is None or number not in INT32:
                    raise InvalidValue(
                        f"{service_name} {reprlib.repr(value)} is not a 32-bit integer", code="InvalidIntAttr"
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
        return dict(zip(ATTRIBUTE_COLUMNS, _VALUES(self), strict=True))

    def service_fields(self) -> dict[str, Any]:
        """The service's field name to value."""
        return {SERVICE_NAMES[name]: value for name, value in self.columns().items()}

    @classmethod
    def from_service_fields(cls, document: Mapping[str, Any]) -> Attributes:
        """Read the attributes from a document with the service's field names."""
        return cls(**{name: document[field] for name, field in SERVICE_NAMES.items() if field in document})


ATTRIBUTE_COLUMNS: Final = tuple(item.name for item in fields(Attributes))
_VALUES: Final = operator.attrgetter(*ATTRIBUTE_COLUMNS)
SERVICE_NAMES: Final = {name: "".join(part.capitalize() for part in name.split("_")) for name in ATTRIBUTE_COLUMNS}
"""``int_attr2`` → ``IntAttr2``."""


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a picture: a folder, and the path below it if different from the PicName."""

    root: str
    relative: str | None = None

    def path(self, pic_name: str) -> Path:
        """The complete path."""
        return Path(self.root, self.relative if self.relative is not None else pic_name)
