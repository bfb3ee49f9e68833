"""Looking for damage in an instance in PostgreSQL, in one snapshot; whatever the server itself notices it reports.

Checksums of pages are the server's (on by default since PostgreSQL 18). Those of rows detect what anything but
imgsearch has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.errors import RemoteUnavailable
from imgsearch.filters.tree import EVERYTHING
from imgsearch.storage.checksum import feature_checksum, is_valid
from imgsearch.storage.integrity.problems import Damage, Problem
from imgsearch.storage.postgres.locks import Lock, is_held
from imgsearch.storage.records import CHECKED_FEATURE, CHECKED_ITEM, FEATURE_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imgsearch.storage.postgres.engine import PostgresEngine
    from imgsearch.storage.postgres.rows import Generation
    from imgsearch.storage.postgres.store import Store

__all__ = ["check", "damaged_features", "damaged_items", "damaged_roots"]

CHUNK: Final = 4_096
LATE_SECONDS: Final = 3_600
SELF_SEARCHES: Final = 20
REPAIR: Final = "run 'imgsearch check --repair'"


class _Check:
    """One check.

    Args:
        engine: of the instance.
        settings: names of required settings.
    """

    def __init__(self, engine: PostgresEngine, settings: Sequence[str]) -> None:
        self._engine = engine
        self._store: Store = engine.store
        self._settings = settings
        self.problems: list[Problem] = []

    def add(self, damage: Damage, message: str, key: tuple[str | None, str | None] = (None, None)) -> None:
        self.problems.append(Problem(damage, self._engine.folder, message, *key))

    def structure(self) -> None:
        """Settings, counts, references and indexes."""
        self._check_settings()
        self._check_counts()
        self._check_references()
        if self._store.is_external:
            self._check_waiting()
        else:
            self._check_indexes()

    def _check_settings(self) -> None:
        rows = self._store.link.rows("SELECT name, value, seal FROM settings ORDER BY name")
        for name, value, seal in rows:
            if not is_valid((name, value, seal)):
                self.add(Damage.SETTINGS, f"the setting {name!r} is corrupted: restore the database from a backup")
        for name in sorted(set(self._settings) - {row[0] for row in rows}):
            self.add(Damage.SETTINGS, f"the setting {name!r} is missing: restore the database from a backup")

    def _check_counts(self) -> None:
        actual = dict(self._store.link.rows("SELECT category_id, count(*) FROM items GROUP BY category_id"))
        if actual != self._store.counts():
            self.add(Damage.COUNTS, f"the numbers of items per category are wrong: {REPAIR}")

    def _check_references(self) -> None:
        link = self._store.link
        for product_id, pic_name in link.rows(
            "SELECT product_id, pic_name FROM items WHERE NOT EXISTS (SELECT 1 FROM features "
            "WHERE features.id = items.id AND features.category_id = items.category_id) ORDER BY id"
        ):
            self.add(Damage.FEATURE_MISSING, f"an item has no feature: {REPAIR}", (product_id, pic_name))
        row = link.row(
            "SELECT count(*) FROM features WHERE NOT EXISTS (SELECT 1 FROM items "
            "WHERE items.id = features.id AND items.category_id = features.category_id)"
        )
        if row is not None and row[0]:
            self.add(Damage.FEATURE_ORPHANED, f"{row[0]} features have no item: {REPAIR}")

    def _check_indexes(self) -> None:
        generation = self._store.generation()
        if generation is None:
            return
        from imgsearch.storage.postgres.index_building import made_for

        indexes = self._store.partitions.indexes()
        valid = {one.category for one in indexes if one.is_valid}
        for category in sorted(made_for(generation).keys() - valid):
            self.add(Damage.INDEX_MISSING, f"the index of category {category} is missing: run 'imgsearch rebuild'")
        for one in indexes:
            if not one.is_valid:
                self.add(
                    Damage.LEFTOVER,
                    f"{one.name} is half an index that a killed process has left: the next rebuild removes it",
                )

    def _check_waiting(self) -> None:
        generation = self._store.generation()
        self._check_leftovers(generation)
        if generation is None:
            return
        late = "since < clock_timestamp() - make_interval(secs => %s)"
        for table, which, what in (
            ("pending", f"acknowledged IS NULL AND {late}", "to be added to"),
            ("removed", late, "to be deleted from"),
        ):
            row = self._store.link.row(f"SELECT count(*) FROM {table} WHERE {which}", (LATE_SECONDS,))
            if row is not None and row[0]:
                self.add(
                    Damage.INDEX_BEHIND,
                    f"{row[0]} items have waited {what} the index for more than an hour: is its server within reach? "
                    "Run 'imgsearch index'",
                )
        try:
            published = self._engine.external.published()
            found = self._engine.external.count(generation.number)
        except RemoteUnavailable as error:
            self.add(Damage.INDEX_MISSING, f"the index cannot be looked at: {error.message}")
            return
        if published != generation.number:
            self.add(
                Damage.GENERATION,
                f"the index has published generation {published}, and the database generation {generation.number}: "
                "run 'imgsearch rebuild'",
            )
        slack = self._store.count_unindexed() + self._store.count_removed()
        counts = self._store.counts()
        for category in sorted(counts.keys() | found.keys()):
            own, other = counts.get(category, 0), found.get(category, 0)
            if abs(own - other) > slack:
                self.add(
                    Damage.INDEX_LENGTH,
                    f"the index holds {other} items of category {category}, and the database {own}: "
                    "run 'imgsearch rebuild'",
                )

    def _check_leftovers(self, generation: Generation | None) -> None:
        """Collections of a generation that nobody has published; while one is made, it is there."""
        if is_held(self._store.link, Lock.INDEX):
            return
        try:
            numbers = self._engine.external.numbers()
        except RemoteUnavailable:
            return  # where it matters, this is told besides
        for number in numbers:
            if generation is None or number != generation.number:
                self.add(
                    Damage.LEFTOVER,
                    f"the index still has generation {number}, which a killed process has left: bringing the index up "
                    "to date the next time removes it, as 'imgsearch rebuild' does",
                )

    def data(self) -> None:
        """Read everything, and search for some items by their own features."""
        for _, path in damaged_roots(self._store):
            self.add(Damage.LOCATION, f"the folder {path!r} of pictures does not match its checksum: {REPAIR}")
        for row in damaged_items(self._store):
            self.add(Damage.ITEM, f"an item does not match its checksum: {REPAIR}", (row[1], row[2]))
        for _, product_id, pic_name, why in damaged_features(self._store):
            self.add(Damage.FEATURE, f"a feature {why}: {REPAIR}", (product_id, pic_name))
        if not self.problems:
            self._search()
            if self._store.is_external:
                self._compare_ids()

    def _search(self) -> None:
        generation = self._store.generation()
        if generation is None:
            return
        index = self._engine.index(generation)
        ids = self._store.matching_ids(EVERYTHING)
        chosen = ids[np.linspace(0, len(ids) - 1, min(SELF_SEARCHES, len(ids))).astype(np.int64)]
        pending = set(self._store.waiting_ids().tolist())
        for picture in self._store.pictures(np.unique(chosen).tolist()):
            own = picture.item
            if own.id in pending:
                continue
            same = self._store.nearest(picture.feature, EVERYTHING, 1)
            found = index.shortlist(picture.feature, 10, categories=(own.category_id,))
            if own.id not in found.tolist() and same.tolist() == [own.id]:
                self.add(
                    Damage.SELF_SEARCH,
                    "the index does not find an item by its own feature: run 'imgsearch rebuild'",
                    (own.key.product_id, own.key.pic_name),
                )

    def _compare_ids(self) -> None:
        """Whether the index lacks an item that does not wait to be added."""
        generation = self._store.generation()
        if generation is None:
            return
        waiting = self._store.waiting_ids()
        for category in sorted(self._store.counts()):
            pieces = list(self._engine.external.ids(generation.number, category))
            there = np.concatenate([np.zeros(0, np.int64), *pieces])
            missing = np.setdiff1d(np.setdiff1d(self._store.ids_of_category(category), there), waiting)
            if len(missing):
                self.add(
                    Damage.INDEX,
                    f"the index lacks {len(missing)} items of category {category}: run 'imgsearch rebuild'",
                )


def damaged_roots(store: Store) -> Iterator[tuple[int, str]]:
    """Numbers and paths of folders that do not match their checksums."""
    for row in store.link.rows("SELECT id, path, seal FROM roots ORDER BY id"):
        if not is_valid(row):
            yield row[0], row[1]


def damaged_items(store: Store) -> Iterator[tuple[Any, ...]]:
    """Rows of CHECKED_ITEM that do not match their checksums."""
    last = -1
    while True:
        rows = store.link.rows(f"SELECT {CHECKED_ITEM} FROM items WHERE id > %s ORDER BY id LIMIT %s", (last, CHUNK))
        yield from (row for row in rows if not is_valid(row))
        if len(rows) < CHUNK:
            return
        last = rows[-1][0]


def damaged_features(store: Store) -> Iterator[tuple[int, str, str, str]]:
    """Id, ProductId and PicName of items with a broken feature, and what is wrong with it."""
    last, length = -1, 0
    while True:
        rows = store.link.rows(
            f"SELECT items.id, product_id, pic_name, {CHECKED_FEATURE} FROM items JOIN features "
            "ON features.id = items.id AND features.category_id = items.category_id WHERE items.id > %s "
            "ORDER BY items.id LIMIT %s",
            (last, CHUNK),
        )
        for item_id, product_id, pic_name, feature, seal in rows:
            length = length or len(feature)
            if feature_checksum(item_id, feature) != seal:
                yield item_id, product_id, pic_name, "does not match its checksum"
            elif len(feature) != length:
                yield item_id, product_id, pic_name, "has another length than others"
            elif not np.isfinite(np.frombuffer(feature, FEATURE_TYPE)).all():
                yield item_id, product_id, pic_name, "has values that are not finite"
        if len(rows) < CHUNK:
            return
        last = rows[-1][0]


def check(engine: PostgresEngine, *, read_data: bool, settings: Sequence[str]) -> list[Problem]:
    """Check for damage, without writing and without a lock.

    Args:
        engine: of the instance.
        read_data: read all data and verify checksums.
        settings: names of required settings.

    Raises:
        RemoteUnavailable, InstanceDamaged
    """
    found = _Check(engine, settings)
    with engine.store.reading():
        found.structure()
        if read_data:
            found.data()
    return found.problems
