"""Rows of a truth that is a database: their columns, and their verified conversion to records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from imgsearch.projection import Projection
from imgsearch.quantization import FEATURE_TYPE, Coding
from imgsearch.storage.checksum import feature_checksum, is_valid
from imgsearch.storage.port import Pictures
from imgsearch.types import Extracted, Fingerprints, Item, Upsert
from imgsearch.values import Attributes, Key, Location, Region, RegionMode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from imgsearch.errors import InstanceDamaged

__all__ = [
    "CHECKED_FEATURE",
    "CHECKED_ITEM",
    "FEATURE_TYPE",
    "ITEM_COLUMNS",
    "ITEM_ROW",
    "ITEM_SOURCE",
    "ITEM_WIDTH",
    "PROJECTION",
    "ROOT_ROW",
    "SETTING_ROW",
    "TUNED",
    "Records",
    "item_columns",
]

# The columns that a row's checksum (column ``seal``) covers, in this order: all of them.
SETTING_ROW: Final = ("name", "value")
ROOT_ROW: Final = ("id", "path")
ITEM_ROW: Final = (
    *("id", "product_id", "pic_name", "category_id", "category_given", "region_mode", "x1", "x2", "y1", "y2"),
    *("subjects", "content_hash", "token", "root_id", "relative_path"),
    *("custom_content", "int_attr", "int_attr2", "int_attr3", "int_attr4"),
    *("str_attr", "str_attr2", "str_attr3", "str_attr4"),
    "picture_hash",
)

CHECKED_ITEM: Final = f"{', '.join(f'items.{name}' for name in ITEM_ROW)}, items.seal"
CHECKED_FEATURE: Final = "feature, features.seal"
ITEM_COLUMNS: Final = f"{CHECKED_ITEM}, roots.path, roots.seal"
ITEM_SOURCE: Final = "items LEFT JOIN roots ON roots.id = items.root_id"
ITEM_WIDTH: Final = len(ITEM_ROW) + 1
"""Number of columns in CHECKED_ITEM."""
PRODUCT_COLUMN: Final = ITEM_ROW.index("product_id")
CONTENT_COLUMN: Final = ITEM_ROW.index("content_hash")
HASH_COLUMN: Final = ITEM_ROW.index("picture_hash")

TUNED: Final = "tuned"
"""Name of the setting with the name of the projection applied to all stored features; absent without one."""
PROJECTION: Final = "projection"
"""The projection itself. Stored separately, so that a search reads only the name."""


class _Source(Protocol):
    """What a truth does by itself."""

    def damage(self, what: str) -> InstanceDamaged:
        """Return the error to raise when stored data does not match its checksum."""

    def _setting(self, name: str) -> Any:
        """A setting; None if there is none."""


class Records(_Source):
    """The conversion of rows to records."""

    _tuning: Projection | None = None

    @property
    def coding(self) -> Coding:
        """How stored features are laid out."""
        return Coding()

    def _unpacked(self, data: bytes, count: int) -> npt.NDArray[np.floating]:
        """Stored features, which match their checksums; shape (count, dimension).

        Args:
            data: of these features, one after another.
            count: of features.
        """
        try:
            return self.coding.unpacked(data, count)
        except ValueError:
            raise self.damage("a feature") from None

    def _verify_rows(self, rows: Iterable[tuple[Any, ...]], width: int | None = None) -> None:
        """Raise if a row does not match its checksum.

        Args:
            rows: each a row's columns, then its checksum.
            width: the number of these columns including the checksum; by default all.
        """
        if not all(is_valid(row[:width]) for row in rows):
            raise self.damage("a row")

    def _check_features(self, rows: Iterable[tuple[int, bytes, int]]) -> None:
        """Raise if a feature does not match its checksum; rows are (id, feature, checksum)."""
        if any(feature_checksum(item_id, feature) != checksum for item_id, feature, checksum in rows):
            raise self.damage("a feature")

    def _pictures(self, rows: list[tuple[Any, ...]]) -> Pictures:
        """Convert and verify rows that begin with CHECKED_ITEM and CHECKED_FEATURE."""
        self._verify_rows(rows, ITEM_WIDTH)
        self._check_features([(row[0], row[ITEM_WIDTH], row[ITEM_WIDTH + 1]) for row in rows])
        features = self._unpacked(b"".join(row[ITEM_WIDTH] for row in rows), len(rows))
        return Pictures(
            np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows)),
            [(row[1], row[3]) for row in rows],
            features.astype(np.float32, copy=False),
        )

    def _item(self, row: tuple[Any, ...]) -> Item:
        """Convert and verify a row that begins with ITEM_COLUMNS."""
        self._verify_rows([row], ITEM_WIDTH)
        (item_id, product_id, pic_name, category_id, given, mode, x1, x2, y1, y2, _, content, token, root_id) = row[:14]
        root, root_checksum = row[ITEM_WIDTH : ITEM_WIDTH + 2]
        if root_id is not None and not is_valid((root_id, root, root_checksum)):
            raise self.damage("the location of a picture")
        return Item(
            id=item_id,
            key=Key(product_id, pic_name),
            category_id=category_id,
            region=Region(x1, x2, y1, y2),
            region_mode=RegionMode(mode),
            category_given=bool(given),
            content_hash=content,
            token=token,
            attributes=Attributes(*row[15:HASH_COLUMN]),
            location=None if root is None else Location(root, row[14]).path(pic_name),
            picture_hash=row[HASH_COLUMN],
            subjects=tuple(map(Region.parse, json.loads(row[10]))) if row[10] else (),
        )

    def _as_upsert(self, row: tuple[Any, ...]) -> Upsert:
        """Convert and verify a row of ITEM_COLUMNS and CHECKED_FEATURE."""
        self._check_features([(row[0], row[-2], row[-1])])
        item, relative, root = self._item(row), row[14], row[ITEM_WIDTH]
        extracted = Extracted(
            item.content_hash,
            item.token,
            item.region,
            item.subjects,
            item.category_id,
            (),
            self._unpacked(row[-2], 1)[0].astype(np.float32, copy=False),
            item.picture_hash,
        )
        location = None if root is None else Location(root, relative)
        return Upsert(item.key, extracted, item.region_mode, item.category_given, item.attributes, location)

    def _fingerprints(self, rows: list[tuple[Any, ...]]) -> Fingerprints:
        """Convert and verify rows of CHECKED_ITEM."""
        self._verify_rows(rows)
        return Fingerprints(
            np.fromiter((row[0] for row in rows), np.int64, len(rows)),
            [row[PRODUCT_COLUMN] for row in rows],
            [row[CONTENT_COLUMN] for row in rows],
            [row[HASH_COLUMN] for row in rows],
        )

    def _known_tuning(self) -> Projection | None:
        """The projection applied to all stored features; read only if its name has changed.

        Raises:
            InstanceDamaged: it is corrupted.
        """
        name = self._setting(TUNED)
        if name is None:
            return None
        if self._tuning is None or self._tuning.name != name:
            try:
                tuning = Projection.from_text(self._setting(PROJECTION))
            except ValueError:
                raise self.damage("the tuning") from None
            if tuning.name != name:
                raise self.damage("the tuning")
            self._tuning = tuning
        return self._tuning


def item_columns(change: Upsert, root_id: int | None) -> Sequence[Any]:
    """ITEM_ROW without the id, as a database will return it: the checksum must cover what is read."""
    extracted, location = change.extracted, change.location
    return (
        change.key.product_id,
        change.key.pic_name,
        int(extracted.category_id),
        int(change.category_given),
        int(change.region_mode),
        *extracted.region.bounds,
        json.dumps([str(subject) for subject in extracted.subjects]) if extracted.subjects else None,
        extracted.content_hash,
        extracted.token,
        root_id,
        None if location is None else location.relative,
        *change.attributes.columns().values(),
        extracted.picture_hash,
    )
