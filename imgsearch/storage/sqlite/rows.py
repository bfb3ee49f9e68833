"""Rows of an instance's database: verified against their checksums and converted to records."""

from __future__ import annotations

import functools
import itertools
import json
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import numpy as np

from imgsearch.errors import InstanceDamaged
from imgsearch.storage.port import Pictures
from imgsearch.storage.sqlite.checksum import feature_checksum, is_valid, register
from imgsearch.storage.sqlite.conditions import Sql
from imgsearch.storage.sqlite.database import FrozenConnection, connect, storage_errors, transaction
from imgsearch.storage.sqlite.schema import ITEM_ROW
from imgsearch.types import Extracted, Item, Upsert
from imgsearch.values import Attributes, Key, Location, Region, RegionMode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["FEATURE_TYPE", "Rows", "numbers", "translated"]

P = ParamSpec("P")
R = TypeVar("R", bound="Rows")
T = TypeVar("T")

FEATURE_TYPE: Final = np.dtype("<f2")
"""Stored features are little-endian float16, L2-normalised."""

MAX_PARAMETERS: Final = 500
"""Ids per statement; far below SQLite's limit on parameters."""

CHECKED_ITEM: Final = f"{', '.join(f'items.{name}' for name in ITEM_ROW)}, items.seal"
CHECKED_FEATURE: Final = "feature, features.seal"
ITEM_COLUMNS: Final = f"{CHECKED_ITEM}, roots.path, roots.seal"
ITEM_SOURCE: Final = "items LEFT JOIN roots ON roots.id = items.root_id"
ITEM_WIDTH: Final = len(ITEM_ROW) + 1
"""Number of columns in CHECKED_ITEM."""
PRODUCT_COLUMN: Final = ITEM_ROW.index("product_id")
CONTENT_COLUMN: Final = ITEM_ROW.index("content_hash")
HASH_COLUMN: Final = ITEM_ROW.index("picture_hash")
EVERY_ROW: Final = Sql("1")


def translated(read: Callable[Concatenate[R, P], T]) -> Callable[Concatenate[R, P], T]:
    """Translate storage errors in reading methods called outside the engine's own blocks."""

    @functools.wraps(read)
    def translated(self: R, /, *args: P.args, **options: P.kwargs) -> T:
        try:
            with storage_errors(self.path.parent):
                self._follow()
                return read(self, *args, **options)
        except InstanceDamaged:
            if isinstance(self._connection, FrozenConnection):
                self._connection.check()  # a concurrent write may be the cause
            raise

    return translated


class Rows:
    """A connection, and the conversion of its rows to records."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @property
    def connection(self) -> sqlite3.Connection:
        """For checks and repairs, which inspect the database itself."""
        return self._connection

    def reading(self) -> AbstractContextManager[None]:
        """Return a context manager; reads inside it see one snapshot."""
        self._follow()
        return transaction(self._connection)

    def _follow(self) -> None:
        """Reopen the database if the connection cannot see later commits."""
        before = self._connection
        if isinstance(before, FrozenConnection) and not before.in_transaction and before.is_outdated:
            self._connection = connect(self.path, write=False)
            register(self._connection)
            before.close()

    def damage(self, what: str) -> InstanceDamaged:
        """Return the error to raise when stored data does not match its checksum."""
        return InstanceDamaged(
            f"{what} in {self.path} is corrupted: run 'imgsearch check --read-data' to see what is damaged, "
            "'imgsearch check --repair' to repair it"
        )

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
        for item_id, feature, checksum in rows:
            if feature_checksum(item_id, feature) != checksum:
                raise self.damage("a feature")

    def _pictures(self, rows: list[tuple[Any, ...]]) -> Pictures:
        """Convert and verify rows that begin with CHECKED_ITEM and CHECKED_FEATURE."""
        self._verify_rows(rows, ITEM_WIDTH)
        self._check_features([(row[0], row[ITEM_WIDTH], row[ITEM_WIDTH + 1]) for row in rows])
        features = np.frombuffer(b"".join(row[ITEM_WIDTH] for row in rows), FEATURE_TYPE).astype(np.float32)
        return Pictures(
            np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows)),
            [(row[1], row[3]) for row in rows],
            features.reshape(len(rows), -1 if rows else 0),
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
            np.frombuffer(row[-2], FEATURE_TYPE).astype(np.float32),
            item.picture_hash,
        )
        location = None if root is None else Location(root, relative)
        return Upsert(item.key, extracted, item.region_mode, item.category_given, item.attributes, location)

    def _by_id(
        self,
        select: str,
        ids: Iterable[int],
        parameters: tuple[Any, ...] = (),
        *,
        where: Sql = EVERY_ROW,
        of: str = "items",
    ) -> Iterator[sqlite3.Cursor]:
        """Run a statement for the ids, MAX_PARAMETERS at a time."""
        wanted = list(ids)
        for start in range(0, len(wanted), MAX_PARAMETERS):
            some = wanted[start : start + MAX_PARAMETERS]
            yield self._connection.execute(
                f"{select} WHERE ({where.text}) AND {of}.id IN ({','.join('?' * len(some))})",
                (*parameters, *where.parameters, *some),
            )

    def _rising(self, select: str, parameters: tuple[Any, ...]) -> npt.NDArray[np.int64]:
        ids = np.sort(self._ids(select, parameters))
        if np.any(ids[1:] == ids[:-1]):
            raise self.damage("an index of items")
        return ids

    def _ids(self, select: str, parameters: tuple[Any, ...] = ()) -> npt.NDArray[np.int64]:
        """The ``id`` column of a statement; SQLite joins it to one text, as a row each takes three times as long."""
        (text,) = self._connection.execute(f"SELECT group_concat(id) FROM ({select})", parameters).fetchone()
        return np.zeros(0, np.int64) if text is None else np.fromstring(text, np.int64, sep=",")


def numbers(rows: Iterable[tuple[int, ...]]) -> npt.NDArray[np.int64]:
    """The integers of all rows, concatenated; shape (rows * columns,)."""
    return np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int64)
