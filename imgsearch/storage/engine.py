"""The search engine of an instance: items and features in, ranked items out.

This is the narrow interface that another engine would implement: upsert and delete inside one commit, count, search
with a condition, rebuild. SQLite is the truth; the FAISS file of the published generation is derived from it. Items
newer than the generation are scanned exactly beside it, removed ones are passed over.

A search ranks a fixed number of candidates, those nearest to the query by their own features, whichever part of the
results is asked for: so the parts are slices of one order. What ranks them is their similarity together with the other
pictures of their products, and how far the best of these lifts them (``evidence.py``).
"""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.durable_fs import TEMPORARY_SUFFIX, sync_folder
from imgsearch.errors import (
    InstanceDamaged,
    InstanceEmpty,
    InstanceNotFound,
    ItemNotFound,
    OlderFormat,
    StampMismatch,
)
from imgsearch.filters.tree import EVERYTHING, picture_condition
from imgsearch.search.candidates import Moment
from imgsearch.search.score import Calibration, Rivals, cosines, hamming, sort_expr_values
from imgsearch.search.siblings import WITHOUT_LIFT, similarities
from imgsearch.storage import successor
from imgsearch.storage.faiss.index_builder import FLAT_LIMIT, build, can_extend, extend
from imgsearch.storage.faiss.index_reader import IndexReader
from imgsearch.storage.lock import HOLDER_NAME, LOCK_NAME, writer_lock
from imgsearch.storage.sqlite.database import storage_errors
from imgsearch.storage.sqlite.schema import PAGE_BYTES
from imgsearch.storage.sqlite.store import DATABASE_NAME, FEATURE_TYPE, Generation, Pictures, Store
from imgsearch.types import MAX_RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.projection import Projection
    from imgsearch.search.candidates import Candidates, Selection
    from imgsearch.search.siblings import RankingWeights
    from imgsearch.types import Item, Region

    Converted = Callable[[npt.NDArray[np.float16]], npt.NDArray[np.float16]]

__all__ = ["Engine", "Hit", "Query", "Ranking"]

CANDIDATES: Final = MAX_RESULTS
"""Items that are ranked beside the identical ones: always so many, so that no page sees another order."""
DISTINCT_CANDIDATES: Final = 2 * CANDIDATES
"""The same, where only the best item of each product is given: a product may have several pictures among them."""
LAYER_FACTOR: Final = 4
"""A page that these do not fill is filled from so many times as many."""
PRODUCT_PICTURES: Final = 64
"""Pictures of a product that lend evidence, the first by PicName: one with 100,000 costs no more than one with 64."""
TAIL_FLOOR: Final = 1_000
TAIL_SHARE: Final = 0.25
TAIL_CEILING: Final = 20_000
"""An index is due when the newer items number more than the floor and more than this share of the indexed ones, or
more than the ceiling, as each search goes through them; or when so many of the indexed ones are removed."""
REBUILD_CHUNK: Final = 16_384
"""Items that are put into an index at once."""
IDENTICAL_LIMIT: Final = 10_000
REOPEN_ATTEMPTS: Final = 10
MIGRATION_WAIT_S: Final = 60.0
"""Whoever opens an older format waits so long for another who migrates it, or for a writer of an older release."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for."""

    feature: npt.NDArray[np.float32]
    """Shape (dimension,), L2-normalised; as the networks give it, whatever the instance is tuned to."""
    content_hash: bytes
    region: Region | None = None
    """The region that the caller gave; None: automatic or the whole picture."""
    item_id: int | None = None
    """The stored picture that is searched with: its feature is then taken as it is stored at that moment."""

    @classmethod
    def with_item(cls, item: Item) -> Query:
        """A query with a stored picture."""
        return cls(np.zeros(0, np.float32), item.content_hash, item.region, item.id)

    @property
    def identity(self) -> Condition:
        """What items meet that were made from the very same picture: the same bytes, and no other region of it."""
        return picture_condition(self.content_hash, self.region)


@dataclass(frozen=True, slots=True)
class Hit:
    """One result."""

    item: Item
    score: float
    """0..1, from the similarity that ranks; 1 for an identical picture only."""
    distance: int
    """Hamming distance of the feature codes of the two pictures, in bits; 0 for an identical picture."""
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
    """A candidate in its place."""

    id: int
    product_id: str
    score: float
    identical: bool


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query, what may be found, and where."""

    query: Query
    selection: Selection
    own: npt.NDArray[np.int64]
    """Ids of the identical pictures in it."""
    candidates: Candidates
    size: int
    """Of the first layer, without the identical ones."""


def _best_of_each_product(ranked: list[_Ranked]) -> list[_Ranked]:
    best: dict[str, _Ranked] = {}
    for hit in ranked:
        best.setdefault(hit.product_id, hit)
    return list(best.values())


def _in_order(
    pictures: Pictures, scores: npt.NDArray[np.float64], *similarities: npt.NDArray[np.float32], identical: bool
) -> list[_Ranked]:
    """By falling similarity; equal ones by the next similarity, then in the order they were added."""
    keys: list[npt.NDArray[Any]] = [pictures.ids, *(-values for values in reversed(similarities))]
    order = np.lexsort(keys)
    columns = zip(pictures.ids.tolist(), pictures.groups, scores.tolist(), strict=True)
    ranked = [_Ranked(number, product_id, score, identical) for number, (product_id, _), score in columns]
    return [ranked[place] for place in order.tolist()]


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

    @classmethod
    def check_exists(cls, folder: Path) -> None:
        """Refuse a folder that holds no instance.

        Raises:
            InstanceNotFound, InstanceDamaged
        """
        if not cls.exists(folder):
            if any(folder.glob("index-*.faiss")):
                raise InstanceDamaged(
                    f"{folder} has lost {DATABASE_NAME}, which holds all items: restore it from a backup"
                )
            raise InstanceNotFound(
                f"there is no instance in {folder}: make one with 'imgsearch init' or 'imgsearch add'"
            )

    @staticmethod
    def create(folder: Path, settings: dict[str, Any], page_bytes: int = PAGE_BYTES) -> None:
        """Make an empty instance in a folder that exists and holds none; it is there whole or not at all."""
        temporary = folder / f"{DATABASE_NAME}{TEMPORARY_SUFFIX}"
        with storage_errors(folder):
            for leftover in folder.glob(f"{DATABASE_NAME}{TEMPORARY_SUFFIX}*"):
                leftover.unlink()
        Store.create(temporary, settings, page_bytes)
        with storage_errors(folder):
            temporary.rename(folder / DATABASE_NAME)
            sync_folder(folder)

    @classmethod
    def open(cls, folder: Path, *, write: bool = False) -> Engine:
        """Open an instance; for writing, the caller holds the writer lock.

        An older format is migrated first, which takes the lock for a moment where it is not held.

        Raises:
            InstanceLocked: an older format, and a writer that does not end.
            InstanceNotFound, InstanceDamaged, NewerFormat, StorageUnwritable
        """
        cls.check_exists(folder)
        path = folder / DATABASE_NAME
        try:
            store = Store.open(path, write=write)
        except OlderFormat:
            with writer_lock(folder, MIGRATION_WAIT_S):
                Store.open(path, write=True).close()
            store = Store.open(path, write=False)
        engine = cls(folder, store)
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
        from imgsearch.storage.integrity.check import leftovers  # for writers alone: searches start without it

        with storage_errors(self.folder):
            for path in leftovers(self.folder, locked=True):
                if path.is_dir():
                    successor.remove(path)
                else:
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

    def prepare(self) -> None:
        """Begin to load what searches through an index need, in a thread, while other work goes on."""
        if self.store.generation() is not None:
            Thread(target=import_module, args=("faiss",), name="imgsearch-faiss").start()

    def search(
        self,
        query: Query,
        calibration: Calibration,
        *,
        categories: tuple[int, ...] = (),
        **options: Any,
    ) -> Ranking:
        """Answer one query; takes and raises what ``search_many`` does."""
        return self.search_many([(query, categories)], calibration, **options)[0]

    def search_many(
        self,
        queries: Sequence[tuple[Query, tuple[int, ...]]],
        calibration: Calibration,
        *,
        num: int,
        start: int = 0,
        condition: Condition = EVERYTHING,
        distinct_product: bool = False,
        min_score: float = 0.0,
        exclude_identical: bool = False,
        weights: RankingWeights = WITHOUT_LIFT,
        made_by: dict[str, Any] | None = None,
    ) -> list[Ranking]:
        """Rank the items that meet the condition by their similarity to each query.

        An item is compared together with the other pictures of its product, whether or not these meet the condition:
        a condition says what may be found, not what is known of it. Pages of one query are slices of one order. With
        ``distinct_product``, products that take more candidates than are always ranked come behind all others.

        Args:
            queries: feature and identity of each query picture, and the categories to which its results belong; none:
                to any.
            calibration: from cosine to Score.
            num: how many results at most.
            start: how many to pass over first; ``start + num`` beyond MAX_RESULTS gives no more than these.
            condition: filter first, rank then: ``num`` results whenever so many items meet it.
            distinct_product: the best item of each ProductId only, which no lift moves.
            min_score: results with a lower Score are left out.
            exclude_identical: leave out the query picture itself, whatever it is called; nor does it speak for the
                other pictures of its product, or lift them.
            weights: how much the other pictures of a product count.
            made_by: what made the features of the queries, as ``Store.made_by`` tells it; None: not looked at.

        Raises:
            InstanceDamaged: the index file is lost or altered.
            StampMismatch: something else has made the features of the items.
            ItemNotFound: a stored picture that is searched with is no longer there.
        """
        given = queries
        for _ in range(REOPEN_ATTEMPTS):
            try:
                with storage_errors(self.folder), self.store.reading():
                    if made_by is not None and self.store.made_by() != made_by:
                        raise StampMismatch(
                            f"the features in {self.folder} were made anew while this search was prepared: search again"
                        )
                    queries = [(self._comparable(query), categories) for query, categories in given]
                    moment = Moment(self.store, self._opened)
                    selections = [moment.selection(categories, condition) for _, categories in queries]
                    owns = [
                        self.store.identical_ids(query.identity, selection.condition, IDENTICAL_LIMIT)
                        for (query, _), selection in zip(queries, selections, strict=True)
                    ]
                    size = DISTINCT_CANDIDATES if distinct_product else CANDIDATES
                    candidates = moment.candidates(
                        [(query.feature, selection) for (query, _), selection in zip(queries, selections, strict=True)],
                        size + max(map(len, owns), default=0),
                    )
                    return [
                        self._search(
                            _Asked(query, selection, own, near, size),
                            calibration,
                            num,
                            start,
                            distinct_product,
                            min_score,
                            exclude_identical,
                            # A lift changes the best of no product, nor its similarity.
                            weights.without_lift() if distinct_product else weights,
                        )
                        for (query, _), selection, own, near in zip(queries, selections, owns, candidates, strict=True)
                    ]
            except FileNotFoundError:
                continue  # a rebuild has replaced the generation in between: look again
        raise InstanceDamaged(
            f"the index file of {self.folder} is missing; the items are safe in the database: run 'imgsearch rebuild'"
        )

    def _comparable(self, query: Query) -> Query:
        """The query with a feature that went the way of the stored ones: in one snapshot with them."""
        if query.item_id is not None:
            if not self.store.has(query.item_id):
                raise ItemNotFound(f"the picture that is searched with is no longer in {self.folder}")
            return replace(query, feature=self.store.feature(query.item_id))
        tuning = self.store.tuning()
        return query if tuning is None else replace(query, feature=tuning.applied(query.feature))

    def _opened(self, generation: Generation) -> IndexReader:
        if self._reader is None or self._reader.generation != generation:
            self._reader = IndexReader.open(self.folder, generation)
        return self._reader

    def _search(
        self,
        asked: _Asked,
        calibration: Calibration,
        num: int,
        start: int,
        distinct_product: bool,
        min_score: float,
        exclude_identical: bool,
        weights: RankingWeights,
    ) -> Ranking:
        query = asked.query
        wanted = min(start + num, MAX_RESULTS)
        order: list[_Ranked] = []
        rivals: Rivals | None = None
        for pictures, identical in self._layers(asked):
            ranked, rivals = self._rank(query, calibration, pictures, identical, exclude_identical, weights, rivals)
            near = [hit for hit in ranked if hit.score >= min_score]
            order = _best_of_each_product(order + near) if distinct_product else near
            # What is below the smallest score here ends the order for every page; only a full page ends it early.
            if not distinct_product or len(order) >= wanted or len(near) < len(ranked):
                break
        return Ranking(asked.selection.found, self._hits(query, order[start:wanted]))

    def _layers(self, asked: _Asked) -> Iterator[tuple[Pictures, npt.NDArray[np.bool_]]]:
        """Items from near to far by their own features, in layers whose bounds are the same for every page.

        Yields:
            The pictures of a layer, with the identical ones in the first; and which are identical.
        """
        query, selection, own = asked.query, asked.selection, asked.own
        passed: set[int] = set()
        inner, outer = 0, asked.size
        while len(passed) < selection.found:
            near = set(asked.candidates.best(outer + len(own)).tolist()) - passed
            if not near and passed.issuperset(own.tolist()):
                raise self.store.damage("the number of items")
            same = set(own.tolist()) - passed
            ids, features = self.store.features_of(near | same)
            order = np.lexsort((ids, -cosines(query.feature, features)))
            is_own = np.isin(ids[order], own)
            layer = np.concatenate([order[is_own], order[~is_own][: outer - inner]])
            pictures, identical = self.store.candidates(
                ids[layer], features[layer], query.identity, selection.condition
            )
            passed.update(pictures.ids.tolist())
            yield pictures, identical
            inner, outer = outer, LAYER_FACTOR * outer

    def _rank(
        self,
        query: Query,
        calibration: Calibration,
        pictures: Pictures,
        identical: npt.NDArray[np.bool_],
        exclude_identical: bool,
        weights: RankingWeights,
        rivals: Rivals | None,
    ) -> tuple[list[_Ranked], Rivals | None]:
        """Put candidates into their order; the rivals of the first layer are those of all.

        Identical ones come first, by their own cosines, as evidence cannot add to certainty. They lift the others of
        their products as any candidate does.
        """
        same = pictures.take(np.flatnonzero(identical & (not exclude_identical)))
        own = cosines(query.feature, same.features)
        ranked = _in_order(same, np.ones(len(same.ids)), own, identical=True)
        others = pictures.take(np.flatnonzero(~identical))
        if len(others.ids):
            siblings = self._siblings(query, others, pictures, identical, exclude_identical)
            values = similarities(query.feature, others, siblings, weights, same)
            rivals = rivals or Rivals.of((product_id for product_id, _ in others.groups), values.lifted)
            scores = calibration.scores(values.lifted, rivals)
            ranked += _in_order(others, scores, values.lifted, values.unlifted, identical=False)
        return ranked, rivals

    def _siblings(
        self,
        query: Query,
        candidates: Pictures,
        pictures: Pictures,
        identical: npt.NDArray[np.bool_],
        exclude_identical: bool,
    ) -> Iterator[Pictures]:
        """What lends evidence to candidates: the first pictures of their products, most of them at hand already."""
        products = dict.fromkeys(product_id for product_id, _ in candidates.groups)
        lending = self.store.first_of_products(products, PRODUCT_PICTURES)
        known = np.isin(pictures.ids, lending)
        yield pictures.take(np.flatnonzero(known & ~identical if exclude_identical else known))
        others = np.setdiff1d(lending, pictures.ids).tolist()
        yield from self.store.siblings(others, query.identity.negated() if exclude_identical else EVERYTHING)

    def _hits(self, query: Query, page: list[_Ranked]) -> list[Hit]:
        if not page:
            return []
        pictures = {picture.item.id: picture for picture in self.store.pictures([hit.id for hit in page])}
        if len(pictures) != len(page):
            raise self.store.damage("an item or its feature")
        distances = hamming(query.feature, np.stack([pictures[hit.id].feature for hit in page])).tolist()
        return [
            Hit(pictures[hit.id].item, hit.score, 0 if hit.identical else distance, hit.identical)
            for hit, distance in zip(page, distances, strict=True)
        ]

    # Index

    def is_index_due(self) -> bool:
        """Whether searches would profit from an index that has the newer items, or no longer has the removed ones."""
        generation = self.store.generation()
        if generation is None:
            return self.store.count() > 0
        tail = self.store.count_newer(generation.max_id)
        limit = max(TAIL_FLOOR, min(TAIL_SHARE * generation.items, TAIL_CEILING))
        return tail > limit or self.store.count_removed() > max(TAIL_FLOOR, TAIL_SHARE * generation.items)

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
        self.count_to_index()
        return self._published(self._built(self.store, flat_limit=flat_limit))

    def retune(self, tuning: Projection | None, *, flat_limit: int = FLAT_LIMIT) -> Generation | None:
        """Rewrite all features from the tuning that they have to another one (None: to none), and the index with them.

        One commit brings features, index and what the instance says of both, so searches see all of it or nothing. The
        caller holds the lock.

        Returns:
            The new generation; None in an instance without items.

        Raises:
            StorageFull, StorageUnwritable: everything stays.
        """
        store = self.store
        present = store.tuning()

        def converted(features: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
            plain = features.astype(np.float32) if present is None else present.undone(features)
            return (plain if tuning is None else tuning.applied(plain)).astype(FEATURE_TYPE)

        def change(store: Store) -> None:
            store.rewrite_features(converted, chunk=REBUILD_CHUNK)
            store.set_tuning(tuning)

        if store.count():
            return self._published(self._built(store, converted, flat_limit=flat_limit), change)
        with self.committing():
            change(store)
        return None

    def _built(
        self, store: Store, converted: Converted = lambda features: features, *, flat_limit: int = FLAT_LIMIT
    ) -> Generation:
        """The next generation of this instance, not yet published, of the features in a store, each converted first."""
        old = self.store.generation()
        number = old.number + 1 if old else 1

        def chunks() -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float16]]]:
            return ((ids, converted(features)) for ids, features in store.features(chunk=REBUILD_CHUNK))

        with storage_errors(self.folder), store.reading():
            categories = store.categories()
            if len(categories) != store.count():
                raise store.damage("the number of items")
            return build(self.folder, number, categories, chunks, flat_limit=flat_limit)

    def refresh(self) -> Generation:
        """Bring the index up to date: with its lists as they are, where they still fit, else by a rebuild.

        The caller holds the lock; takes and raises what ``rebuild`` does.
        """
        generation = self._extended()
        return self.rebuild() if generation is None else self._published(generation)

    def _extended(self) -> Generation | None:
        """The published generation with what is newer, not yet published; None if it is not fit for that."""
        store = self.store
        old = store.generation()
        if old is None:
            return None
        with storage_errors(self.folder), store.reading(), suppress(FileNotFoundError, InstanceDamaged):
            removed, categories = store.removed_ids(), store.categories(above=old.max_id)
            if can_extend(old, len(removed), categories):
                chunks = partial(store.features, above=old.max_id, chunk=REBUILD_CHUNK)
                return extend(self.folder, old.number + 1, old, removed, categories, chunks)
        return None

    def _published(self, generation: Generation, change: Callable[[Store], None] = lambda _store: None) -> Generation:
        """Publish a generation, in one commit with a change of the store."""
        with storage_errors(self.folder):
            with self.committing():
                change(self.store)
                self.store.publish(generation)
            self._remove_leftovers()
            self.store.prune_roots()
            self._forget_in_successor()
        return generation

    def drop_index_if_empty(self) -> None:
        """Remove the index of an instance without items, which cannot be rebuilt and would keep what was deleted.

        The caller holds the lock.

        Raises:
            StorageFull, StorageUnwritable
        """
        if self.store.count():
            return
        self.drop_index()
        with storage_errors(self.folder):
            self.store.prune_roots()
            self._forget_in_successor()

    def drop_index(self) -> None:
        """Remove the index, so that everything is scanned; the caller holds the lock.

        Raises:
            StorageFull, StorageUnwritable
        """
        if self.store.generation() is not None:
            with self.committing() as store:
                store.unpublish()
        self._remove_leftovers()

    # Successors

    def _forget_in_successor(self) -> None:
        """Have a successor that was begun hold nothing of what was deleted or replaced here since."""
        home = successor.home(self.folder)
        if self.exists(home):
            with writer_lock(home), closing(Store.open(home / DATABASE_NAME, write=True)) as store:
                successor.forget(store, self.store)

    def succeed_by(self, new: Engine) -> None:
        """Become what a successor is, in one commit; the caller holds both locks.

        Searches go on meanwhile, and see what was or what is then.

        Args:
            new: with all items of this instance, and pages of the same size.

        Raises:
            StorageFull, StorageUnwritable: all stays as it was.
        """
        with storage_errors(new.folder):
            new.store.prune_roots()
        generation = self._built(new.store) if new.store.count() else None
        with new.committing() as store:
            if generation is None:
                store.unpublish()
            else:
                store.publish(generation)
        with storage_errors(self.folder):
            new.store.replace(self.store)

    def remove_predecessor(self) -> None:
        """After ``succeed_by``, when the successor is closed: remove its folder and the index that was.

        Raises:
            StorageUnwritable
        """
        self._remove_leftovers()
