"""The storage of one instance folder: SQLite is the truth; the published FAISS file is derived from it.

Implements ``storage.port.Storage`` on one machine. Items newer than the index are scanned exactly; removed ones are
skipped.
"""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.durable_fs import TEMPORARY_SUFFIX, sync_folder
from imgsearch.errors import ImgsearchError, InstanceDamaged, InstanceEmpty, InstanceNotFound, OlderFormat
from imgsearch.storage import successor
from imgsearch.storage.faiss.index_builder import FLAT_LIMIT, build, can_extend, extend
from imgsearch.storage.faiss.index_reader import IndexReader
from imgsearch.storage.lock import HOLDER_NAME, LOCK_NAME, writer_lock
from imgsearch.storage.port import IndexReplaced
from imgsearch.storage.sqlite.database import storage_errors
from imgsearch.storage.sqlite.generations import Generation
from imgsearch.storage.sqlite.schema import PAGE_BYTES
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.projection import Projection
    from imgsearch.storage.port import Generation as PublishedGeneration

    Features = npt.NDArray[np.floating]
    Converted = Callable[[Features], Features]

__all__ = ["Engine"]

TAIL_FLOOR: Final = 1_000
TAIL_SHARE: Final = 0.25
TAIL_CEILING: Final = 20_000
"""Searches scan newer items one by one, so an index is due once these exceed the floor and this share of the indexed
items, or the ceiling; also once that many indexed items are removed."""
REBUILD_CHUNK: Final = 8192
"""Items added to an index at a time."""
MIGRATION_WAIT_S: Final = 60.0
"""How long to wait for another process that migrates the format, or for a writer of an older release."""


class Engine:
    """The storage and search of one instance folder."""

    is_shared: Final = False

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
        """Raise unless the folder holds an instance.

        Raises:
            InstanceNotFound, InstanceDamaged
        """
        if not cls.exists(folder):
            if any(folder.glob("index-*.faiss")):
                raise InstanceDamaged(
                    f"{folder} has lost {DATABASE_NAME}, which holds all items: restore it from a backup"
                )
            raise InstanceNotFound(
                f"there is no instance in {folder}: create one with 'imgsearch init' or 'imgsearch add'"
            )

    @staticmethod
    def create(folder: Path, settings: dict[str, Any], page_bytes: int = PAGE_BYTES) -> None:
        """Create an empty instance atomically in an existing folder that holds none."""
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

        Migrates an older format first, taking the lock briefly if the caller does not hold it.

        Raises:
            InstanceLocked: the format is old, and another writer does not finish.
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
        try:
            engine = cls(folder, store)
            if write:
                engine._remove_leftovers()
        except BaseException:
            store.close()
            raise
        return engine

    @property
    def is_replaced(self) -> bool:
        """Whether the folder was replaced or removed."""
        return self.store.is_replaced

    def close(self) -> None:
        """Release the database."""
        self.store.close()

    @staticmethod
    def is_leftover(path: Path) -> bool:
        """Whether a file in a folder without an instance was left by a killed ``create``."""
        return path.name.startswith((f"{DATABASE_NAME}{TEMPORARY_SUFFIX}", LOCK_NAME, HOLDER_NAME))

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove the files of an instance that nobody has opened; the caller holds its lock, whose file goes too."""
        with storage_errors(folder):
            for pattern in (f"{DATABASE_NAME}*", "index-*.faiss*", LOCK_NAME):
                for path in folder.glob(pattern):
                    path.unlink(missing_ok=True)

    def _remove_leftovers(self) -> None:
        """Remove files of killed writers, and generations that are no longer published."""
        from imgsearch.storage.integrity.problems import remove_leftovers  # only writers need it: searches start faster

        with storage_errors(self.folder):
            remove_leftovers(self.folder, self.store)

    def errors(self) -> AbstractContextManager[None]:
        """Translate errors of SQLite and the system into those of ``imgsearch.errors``."""
        return storage_errors(self.folder)

    def about(self) -> dict[str, str | int]:
        """Nothing that the folder does not say."""
        return {}

    # Changes

    @contextmanager
    def committing(self, products: Collection[str] | None = None) -> Iterator[Store]:  # noqa: ARG002  # one writes
        """Commit the changes of a block atomically; they are synced to disk when it ends.

        Raises:
            StorageFull, StorageUnwritable: no change of the block is kept.
        """
        with storage_errors(self.folder), self.store.writing():
            yield self.store

    # Index

    def prepare(self) -> None:
        """Start loading in a thread what index searches need; a failure is told by the search that meets it again."""
        generation = self.store.generation()
        if generation is not None:
            Thread(target=self._load, args=(generation,), name="imgsearch-faiss").start()

    def _load(self, generation: Generation) -> None:
        with suppress(ImgsearchError, IndexReplaced, OSError):
            self.index(generation)

    def index(self, generation: PublishedGeneration) -> IndexReader:
        """The index of a published generation, opened once per generation.

        Raises:
            IndexReplaced: a rebuild has replaced it since the snapshot, or its file is missing.
            InstanceDamaged: its file is corrupted.
        """
        assert isinstance(generation, Generation)  # as this storage's truth gave it
        reader = self._reader
        if reader is None or reader.generation != generation:
            try:
                self._reader = reader = IndexReader.open(self.folder, generation)
            except FileNotFoundError:
                raise IndexReplaced from None
        return reader

    def is_index_due(self) -> bool:
        """Whether enough items were added or removed to make a refresh worthwhile."""
        generation = self.store.generation()
        if generation is None:
            return self.store.count() > 0
        tail = self.store.count_newer(generation.max_id)
        limit = max(TAIL_FLOOR, min(TAIL_SHARE * generation.items, TAIL_CEILING))
        return tail > limit or self.store.count_removed() > max(TAIL_FLOOR, TAIL_SHARE * generation.items)

    def count_to_index(self) -> int:
        """How many items a rebuild would index.

        Raises:
            InstanceEmpty: there are none.
        """
        count = self.store.count()
        if count == 0:
            raise InstanceEmpty(f"{self.folder} has no items, so there is nothing to rebuild: add pictures first")
        return count

    def rebuild(self, *, flat_limit: int = FLAT_LIMIT) -> Generation:
        """Train a new generation on the stored features and publish it; the caller holds the lock.

        Searches continue and see either the old generation or the new one.

        Raises:
            InstanceEmpty: there is nothing to index.
            InstanceDamaged: items and features do not match, or a checksum is wrong.
            StorageFull, StorageUnwritable: the old generation stays published.
        """
        self.count_to_index()
        return self._published(self._built(self.store, flat_limit=flat_limit, same_features=True))

    def retune(self, tuning: Projection | None, *, flat_limit: int = FLAT_LIMIT) -> Generation | None:
        """Rewrite all features and the index for another tuning (None: none).

        One commit publishes features, index and settings, so searches see all of it or nothing. The caller holds the
        lock.

        Returns:
            The new generation; None for an empty instance.

        Raises:
            StorageFull, StorageUnwritable: nothing has changed.
        """
        store = self.store
        present = store.tuning()

        coding = store.coding

        def converted(features: Features) -> Features:
            plain = features.astype(np.float32) if present is None else present.undone(features)
            return coding.stored(plain if tuning is None else tuning.applied(plain))

        def change(store: Store) -> None:
            store.rewrite_features(converted, chunk=REBUILD_CHUNK)
            store.set_tuning(tuning)

        if store.count():
            return self._published(self._built(store, converted, flat_limit=flat_limit), change)
        with self.committing():
            change(store)
        return None

    def _built(
        self,
        store: Store,
        converted: Converted = lambda features: features,
        *,
        flat_limit: int = FLAT_LIMIT,
        same_features: bool = False,
    ) -> Generation:
        """Build the next generation of this instance, unpublished, from a store's features after conversion.

        With ``same_features``, the present generation was built from features that were not converted, so training can
        start from its lists.
        """
        old = self.store.generation()
        number = old.number + 1 if old else 1

        def chunks() -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
            return (
                (some, converted(features))
                for some, features in store.features_checked_against(ids, chunk=REBUILD_CHUNK)
            )

        def picked(places: npt.NDArray[np.int64]) -> Features:
            found, features = store.features_of(ids[places].tolist())
            return converted(features[np.argsort(found)])

        with storage_errors(self.folder), store.reading():
            ids, categories = store.categories()
            if len(ids) != store.count():
                raise store.damage("the number of items")
            return build(
                self.folder,
                number,
                categories,
                chunks,
                picked,
                flat_limit=flat_limit,
                old=old if same_features else None,
            )

    def refresh(self) -> Generation:
        """Bring the index up to date: extend it while its lists still fit, else rebuild it.

        The caller holds the lock. Raises the same errors as ``rebuild``.
        """
        generation = self._extended()
        return self.rebuild() if generation is None else self._published(generation)

    def _extended(self) -> Generation | None:
        """The published generation extended by newer items, unpublished; None if it cannot be extended."""
        store = self.store
        old = store.generation()
        if old is None:
            return None
        with storage_errors(self.folder), store.reading(), suppress(FileNotFoundError, InstanceDamaged):
            removed, (ids, categories) = store.removed_ids(), store.categories(above=old.max_id)
            if can_extend(old, len(removed), categories):
                chunks = partial(store.features_checked_against, ids, above=old.max_id, chunk=REBUILD_CHUNK)
                return extend(self.folder, old.number + 1, old, removed, categories, chunks)
        return None

    def _published(self, generation: Generation, change: Callable[[Store], None] = lambda _store: None) -> Generation:
        """Publish a generation in one commit with a change to the store."""
        with storage_errors(self.folder):
            with self.committing():
                change(self.store)
                self.store.publish(generation)
            self._remove_leftovers()
            self.store.prune_roots()
            self._forget_in_successor()
        return generation

    def drop_index_if_empty(self) -> None:
        """Remove the index of an empty instance: it cannot be rebuilt and still holds data of deleted items.

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
        """Remove the index, so that searches scan all items; the caller holds the lock.

        Raises:
            StorageFull, StorageUnwritable
        """
        if self.store.generation() is not None:
            with self.committing() as store:
                store.unpublish()
        self._remove_leftovers()

    # Successors

    def _forget_in_successor(self) -> None:
        """Delete from an unfinished successor what has been deleted or replaced here."""
        home = successor.home(self.folder)
        if self.exists(home):
            with writer_lock(home), closing(Store.open(home / DATABASE_NAME, write=True)) as store:
                successor.forget(store, self.store)

    def succeed_by(self, new: Engine) -> None:
        """Become the successor's content, in one commit; the caller holds both locks.

        Searches continue and see either the old state or the new one.

        Args:
            new: the successor, with all items of this instance and the same page size.

        Raises:
            StorageFull, StorageUnwritable: nothing has changed.
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
        """Remove the successor's folder and the old index, after ``succeed_by`` and closing the successor.

        Raises:
            StorageUnwritable
        """
        self._remove_leftovers()
