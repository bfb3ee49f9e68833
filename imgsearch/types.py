"""The small typed records that travel between packages: what is asked for, what is stored, what came of it."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

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
    "Fingerprints",
    "Item",
    "Operation",
    "Outcome",
    "PictureSource",
    "Recalled",
    "Refused",
    "Status",
    "StoredVersion",
    "Upsert",
]

MAX_RESULTS: Final = 500
"""Maximum number of results of a query in total."""
SCANNED_WITHOUT_INDEX: Final = 100_000
"""Items that a search compares one by one while a server of the index cannot be asked."""
SURE: Final = 0.98
"""Required total probability of the categories searched together."""
MAX_LIKELY: Final = 4


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a picture, and the source's token for this version of it (None: unreliable)."""

    data: bytes
    token: bytes | None = None
    is_pixels: bool = False
    """Decoded pixels, in the form of a PPM file that no stranger made (``vision/pixels.py``)."""


class PictureSource(Protocol):
    """A source of one picture."""

    def token(self) -> bytes | None:
        """A cheap fingerprint of the current version, without reading it; None if there is none.

        Equal tokens imply equal bytes, so a picture with an unchanged token is not read again.
        """

    def read(self, max_bytes: int) -> Content:
        """Return the bytes; called in a worker thread.

        Raises:
            PictureTooLarge: ``max_bytes`` or more, detected before reading all.
            UnreadableSource: it cannot be read.
        """


@dataclass(frozen=True, slots=True)
class AddPicture:
    """Add or replace one item."""

    source: str
    """A description for people: a path, a manifest line."""
    key: Key
    picture: PictureSource
    options: PictureOptions = PictureOptions()
    attributes: Attributes = Attributes()
    location: Location | None = None

    def __post_init__(self) -> None:
        for name, kind in (("key", Key), ("options", PictureOptions), ("attributes", Attributes)):
            if not isinstance(getattr(self, name), kind):
                raise InvalidValue(f"{name} is {reprlib.repr(getattr(self, name))}; it must be a {kind.__name__}")
        if not callable(getattr(self.picture, "read", None)) or not callable(getattr(self.picture, "token", None)):
            raise InvalidValue(
                f"{reprlib.repr(self.picture)} is not a PictureSource: convert it with imgsearch.as_picture",
                code="InvalidPicContent",
            )


@dataclass(frozen=True, slots=True)
class DeletePictures:
    """Delete one picture of a product, or all of them.

    Raises:
        InvalidValue: invalid names.
    """

    source: str
    product_id: str
    pic_name: str | None = None

    def __post_init__(self) -> None:
        Key(self.product_id, "any" if self.pic_name is None else self.pic_name)

    def outcome(self, keys: tuple[Key, ...]) -> Outcome:
        """Its one outcome, of all pictures that it deleted."""
        return Outcome(Status.DELETED, self.source, self.product_id, self.pic_name, count=len(keys), keys=keys)


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry of a source that cannot become an operation."""

    source: str
    error: ImgsearchError
    product_id: str | None = None
    pic_name: str | None = None

    def outcome(self) -> Outcome:
        """Its outcome, also in a dry run."""
        return Outcome(Status.FAILED, self.source, self.product_id, self.pic_name, error=self.error)


Operation = AddPicture | DeletePictures | Refused


@dataclass(frozen=True, slots=True)
class Extracted:
    """The result of extraction: all that is kept of a picture."""

    content_hash: bytes
    """BLAKE2b-128 of the picture's bytes: equal hashes mean identical pictures."""
    token: bytes | None
    region: Region
    subjects: tuple[Region, ...]
    """All detected subjects, the main one first (MultiRegion); empty without detection."""
    category_id: int
    """The given or most likely one; 88888888 in a generic instance."""
    chances: tuple[tuple[int, float], ...]
    """Predicted categories with probabilities, the most likely first; empty without prediction."""
    feature: npt.NDArray[np.float32]
    """Shape (dimension,), L2-normalised."""
    picture_hash: bytes | None = None
    """The perceptual hash of the whole picture (``vision/picture_hash.py``); None for a query."""
    warning: str | None = None
    """What is wrong with a picture that is used all the same, such as a file that is cut off."""

    def likely_categories(self) -> tuple[int, ...]:
        """The categories to search: the given one, or as many as needed to probably include the right one."""
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
class Recalled:
    """What is stored of the same bytes under another key: no network runs for them again."""

    extracted: Extracted
    """Its feature is as it is stored: tuned, if the instance is."""


@dataclass(frozen=True, slots=True)
class Upsert:
    """An item to be written: new, or replacing the one with the same key."""

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
    """The file of the picture when it was added, if any."""
    subjects: tuple[Region, ...] = ()
    """All subjects detected in it, the main one first (MultiRegion); empty without detection."""
    picture_hash: bytes | None = field(default=None, repr=False)
    """Its perceptual hash; None if it was added before format 4, or imported without one."""


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What copies of pictures are recognised by, in columns."""

    ids: npt.NDArray[np.int64]
    """Shape (n,)."""
    products: list[str]
    """The ProductId of each item."""
    contents: list[bytes]
    """The content hash of each item."""
    hashes: list[bytes | None]
    """The perceptual hash of each item; None where it has none."""


class StoredVersion(NamedTuple):
    """As much of an item as tells whether its picture is unchanged."""

    position: int
    """The place of its key among those asked about."""
    id: int
    token: bytes | None
    relative: str | None
    """The path of its file below its folder, if that is not its PicName."""
    category_id: int
    category_given: int
    region_mode: int
    x1: int
    x2: int
    y1: int
    y2: int
    is_of_folder: int
    """Whether its file lies in the folder asked about."""
    has_attributes: int
    """Whether its attributes are those asked about."""


class Status(StrEnum):
    """The result of an operation."""

    ADDED = "added"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    FAILED = "failed"
    RENAMED = "renamed"
    """Stored under a new key in place of one whose file is gone, with the same feature."""


@dataclass(slots=True)
class Outcome:
    """The outcome for one picture; already committed (or refused).

    Not frozen, as a frozen record takes ten times as long to make: each of a hundred thousand unchanged files has one.
    """

    status: Status
    source: str
    product_id: str | None
    pic_name: str | None
    category_id: int | None = None
    region: Region | None = None
    error: ImgsearchError | None = None
    count: int = 1
    """Number of pictures; for a deletion submitted to a ``Writer``, the number deleted."""
    keys: tuple[Key, ...] = ()
    """For a deletion submitted to a ``Writer``: of the deleted pictures."""
    renamed_from: Key | None = None
    """The former key of a renamed picture."""
    warning: str | None = None
    """What is wrong with a picture that was added all the same."""

    @property
    def key(self) -> Key:
        """ProductId and PicName, of an outcome that has both."""
        assert self.product_id is not None
        assert self.pic_name is not None
        return Key(self.product_id, self.pic_name)
