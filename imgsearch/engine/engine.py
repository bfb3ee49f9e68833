"""The search engine of an instance: items and features in, ranked items out.

This is the narrow interface that another engine would implement: upsert and delete inside one commit, count, search
with a condition, rebuild. SQLite is the truth; the FAISS file of the published generation is derived from it. Items
newer than the generation are scanned exactly beside it, removed ones are passed over.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from imgsearch.engine.database import storage_errors
from imgsearch.engine.index import FLAT_LIMIT, IndexReader, build
from imgsearch.engine.lock import HOLDER_NAME, LOCK_NAME
from imgsearch.engine.score import Calibration, cosines, hamming, sort_expr_values
from imgsearch.engine.store import DATABASE_NAME, EVERYTHING, Generation, Store, StoredPicture
from imgsearch.errors import InstanceDamaged, InstanceEmpty, InstanceNotFound
from imgsearch.files import TEMPORARY_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.engine.filters import Condition
    from imgsearch.records import Item, Region

__all__ = ["Engine", "Hit", "Query", "Ranking"]

EXACT_SCAN_LIMIT: Final = 20_000
"""A condition that so many items or fewer meet is answered by scanning exactly these."""
TAIL_FLOOR: Final = 1_000
TAIL_SHARE: Final = 0.25
"""A rebuild is due when the unindexed items number more than the floor and this share of the indexed ones."""
IDENTICAL_LIMIT: Final = 10_000
REOPEN_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for."""

    feature: npt.NDArray[np.float32]
    """Shape (dimension,), L2-normalised."""
    content_hash: bytes
    region: Region | None = None
    """The region that the caller gave; None: automatic or the whole picture."""

    def is_identical(self, item: Item) -> bool:
        """Whether the item was made from the very same picture: the same bytes, and no other region of it."""
        return item.content_hash == self.content_hash and (self.region is None or self.region == item.region)


@dataclass(frozen=True, slots=True)
class Hit:
    """One result."""

    item: Item
    score: float
    """0..1; 1 for an identical picture only."""
    distance: int
    """Hamming distance of the feature codes, in bits; 0 for an identical picture."""
    identical: bool

    @property
    def sort_expr_values(self) -> str:
        """The service's ``relevance;distance``."""
        return sort_expr_values(self.score, self.distance, identical=self.identical)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The asked-for part of the results, best first, and how many items met the condition."""

    found: int
    hits: list[Hit]


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A candidate with its exact similarity."""

    picture: StoredPicture
    cosine: float
    score: float
    identical: bool

    def order(self) -> tuple[bool, float, int]:
        """Sort key: identical pictures first, then by similarity; equal ones in the order they were added."""
        return not self.identical, -self.cosine, self.picture.item.id


def _best_of_each_product(ranked: list[_Ranked]) -> list[_Ranked]:
    best: dict[str, _Ranked] = {}
    for hit in ranked:
        best.setdefault(hit.picture.item.key.product_id, hit)
    return list(best.values())


class _Candidates(Protocol):
    def best(self, size: int) -> npt.NDArray[np.int64]:
        """Ids of at least ``size`` nearest items (all there are, if fewer)."""


class _Scan:
    """Candidates of an exact scan over some items; of equal ones, those that were added first."""

    def __init__(self, store: Store, query: npt.NDArray[np.float32], condition: Condition, above: int = 0) -> None:
        parts = [
            (ids, cosines(query, features.astype(np.float32)))
            for ids, features in store.features(condition, above=above)
        ]
        self._ids = np.concatenate([ids for ids, _ in parts]) if parts else np.zeros(0, np.int64)
        self._cosines = np.concatenate([values for _, values in parts]) if parts else np.zeros(0, np.float32)

    def best(self, size: int) -> npt.NDArray[np.int64]:
        if size >= len(self._ids):
            return self._ids
        least = -np.partition(-self._cosines, size - 1)[size - 1]
        nearer, equal = self._ids[self._cosines > least], self._ids[self._cosines == least]
        return np.concatenate([nearer, equal[: size - len(nearer)]])


class _IndexAndTail:
    """Candidates of the published index, and of an exact scan of what is newer."""

    def __init__(self, reader: IndexReader, store: Store, query: npt.NDArray[np.float32], condition: Condition) -> None:
        self._reader, self._query = reader, query
        self._only = None if condition is EVERYTHING else store.matching_ids(condition)
        self._without = store.removed_ids() if self._only is None else None
        self._tail = _Scan(store, query, condition, above=reader.generation.max_id)

    def best(self, size: int) -> npt.NDArray[np.int64]:
        indexed = self._reader.shortlist(self._query, size, only=self._only, without=self._without)
        return np.concatenate([indexed, self._tail.best(size)])


class Engine:
    """The storage and search of one instance folder."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder = folder
        self.store = store
        self._reader: IndexReader | None = None

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether the folder holds an instance."""
        return (folder / DATABASE_NAME).is_file()

    @staticmethod
    def create(folder: Path, settings: dict[str, Any]) -> None:
        """Make an empty instance in a folder that exists and holds none; it is there whole or not at all."""
        temporary = folder / f"{DATABASE_NAME}{TEMPORARY_SUFFIX}"
        with storage_errors(folder):
            for leftover in folder.glob(f"{DATABASE_NAME}{TEMPORARY_SUFFIX}*"):
                leftover.unlink()
        Store.create(temporary, settings)
        with storage_errors(folder):
            temporary.rename(folder / DATABASE_NAME)

    @classmethod
    def open(cls, folder: Path, *, write: bool = False) -> Engine:
        """Open an instance; for writing, the caller holds the writer lock.

        Raises:
            InstanceNotFound, InstanceDamaged, NewerFormat, StorageUnwritable
        """
        if not cls.exists(folder):
            if any(folder.glob("index-*.faiss")):
                raise InstanceDamaged(
                    f"{folder} has lost {DATABASE_NAME}, which holds all items: restore it from a backup"
                )
            raise InstanceNotFound(
                f"there is no instance in {folder}: make one with 'imgsearch init' or 'imgsearch add'"
            )
        engine = cls(folder, Store.open(folder / DATABASE_NAME, write=write))
        if write:
            engine._remove_leftovers()
        return engine

    def close(self) -> None:
        """Release the database."""
        self.store.close()

    @staticmethod
    def is_leftover(path: Path) -> bool:
        """Whether a file in a folder without an instance is one that a killed ``create`` leaves."""
        return path.name.startswith((f"{DATABASE_NAME}{TEMPORARY_SUFFIX}", LOCK_NAME, HOLDER_NAME))

    def _remove_leftovers(self) -> None:
        """Remove what a killed writer left behind, and generations that are no longer published."""
        generation = self.store.generation()
        with storage_errors(self.folder):
            for path in self.folder.glob("index-*.faiss*"):
                if generation is None or path.name != generation.file_name:
                    path.unlink(missing_ok=True)

    # Changes

    @contextmanager
    def committing(self) -> Iterator[Store]:
        """A block of changes to the store that is committed as a whole, on the disk at its end, or not at all.

        Raises:
            StorageFull, StorageUnwritable: nothing of the block is kept.
        """
        with storage_errors(self.folder), self.store.writing():
            yield self.store

    # Search

    def search(
        self,
        query: Query,
        calibration: Calibration,
        *,
        num: int,
        start: int = 0,
        condition: Condition = EVERYTHING,
        distinct_product: bool = False,
        min_score: float = 0.0,
        exclude_identical: bool = False,
    ) -> Ranking:
        """Rank the items that meet the condition by their similarity to the query.

        Args:
            query: feature and identity of the query picture.
            calibration: from cosine to Score.
            num: how many results at most.
            start: how many to pass over first.
            condition: filter first, rank then: ``num`` results whenever so many items meet it.
            distinct_product: the best item of each ProductId only.
            min_score: results with a lower Score are left out.
            exclude_identical: leave out the query picture itself, whatever it is called.

        Raises:
            InstanceDamaged: the index file is lost or altered.
        """
        for _ in range(REOPEN_ATTEMPTS):
            try:
                with storage_errors(self.folder), self.store.reading():
                    return self._search(
                        query, calibration, num, start, condition, distinct_product, min_score, exclude_identical
                    )
            except FileNotFoundError:
                continue  # a rebuild has replaced the generation in between: look again
        raise InstanceDamaged(
            f"the index file of {self.folder} is missing; the items are safe in the database: run 'imgsearch rebuild'"
        )

    def _search(
        self,
        query: Query,
        calibration: Calibration,
        num: int,
        start: int,
        condition: Condition,
        distinct_product: bool,
        min_score: float,
        exclude_identical: bool,
    ) -> Ranking:
        store = self.store
        found = store.count(condition)
        identical = set(store.same_content(query.content_hash, condition, IDENTICAL_LIMIT))
        candidates = self._candidates(query, condition, found)
        wanted = start + num
        size = wanted + len(identical)
        while True:
            ids = identical.union(candidates.best(size).tolist())
            hits = self._rank(query, calibration, ids)
            if exclude_identical:
                hits = [hit for hit in hits if not hit.identical]
            if distinct_product:
                hits = _best_of_each_product(hits)
            if len(hits) >= wanted or len(ids) >= found or not distinct_product:
                break
            size *= 4
        hits = [hit for hit in hits if hit.score >= min_score][start:wanted]
        return Ranking(found, self._with_distances(query, hits))

    def _candidates(self, query: Query, condition: Condition, found: int) -> _Candidates:
        generation = self.store.generation()
        if generation is None or (condition is not EVERYTHING and found <= EXACT_SCAN_LIMIT):
            return _Scan(self.store, query.feature, condition)
        if self._reader is None or self._reader.generation != generation:
            self._reader = IndexReader.open(self.folder, generation)
        return _IndexAndTail(self._reader, self.store, query.feature, condition)

    def _rank(self, query: Query, calibration: Calibration, ids: set[int]) -> list[_Ranked]:
        pictures = list(self.store.pictures(ids))
        if not pictures:
            return []
        similarities = cosines(query.feature, np.stack([picture.feature for picture in pictures]))
        scores = calibration.scores(similarities)
        ranked = []
        for picture, cosine, score in zip(pictures, similarities.tolist(), scores.tolist(), strict=True):
            same = query.is_identical(picture.item)
            ranked.append(_Ranked(picture, cosine, 1.0 if same else score, same))
        return sorted(ranked, key=_Ranked.order)

    def _with_distances(self, query: Query, ranked: list[_Ranked]) -> list[Hit]:
        if not ranked:
            return []
        distances = hamming(query.feature, np.stack([hit.picture.feature for hit in ranked])).tolist()
        return [
            Hit(hit.picture.item, hit.score, 0 if hit.identical else distance, hit.identical)
            for hit, distance in zip(ranked, distances, strict=True)
        ]

    # Index

    def rebuild_due(self) -> bool:
        """Whether so many items are newer than the index that searches profit from a rebuild."""
        generation = self.store.generation()
        if generation is None:
            return self.store.count() > 0
        tail = self.store.count_newer(generation.max_id)
        return tail > max(TAIL_FLOOR, TAIL_SHARE * generation.items)

    def count_to_index(self) -> int:
        """How many items a rebuild would index.

        Raises:
            InstanceEmpty: none.
        """
        count = self.store.count()
        if count == 0:
            raise InstanceEmpty(f"{self.folder} has no items, so there is nothing to rebuild: add pictures first")
        return count

    def rebuild(self, *, flat_limit: int = FLAT_LIMIT) -> Generation:
        """Train and write a new generation from the stored features and publish it; the caller holds the lock.

        Searches go on meanwhile and see the old generation or the new one.

        Raises:
            InstanceEmpty: there is nothing to index.
            StorageFull, StorageUnwritable: the old generation stays.
        """
        store = self.store
        count = self.count_to_index()
        old = store.generation()
        number = old.number + 1 if old else 1
        with storage_errors(self.folder):
            generation = build(self.folder, number, count, store.features, flat_limit=flat_limit)
            with self.committing():
                store.publish(generation)
            self._remove_leftovers()
        return generation
