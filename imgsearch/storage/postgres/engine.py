"""The storage of an instance in PostgreSQL, with pgvector or an index elsewhere; any number of processes may write.

Implements ``storage.port.Storage``. A commit is a transaction; the index of pgvector shows it with the same commit.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.errors import InstanceEmpty, InstanceLocked, RemoteUnavailable
from imgsearch.quantization import FEATURE_TYPE, Coding, quantised
from imgsearch.storage.port import IndexReplaced
from imgsearch.storage.postgres import index_building, rebuilding
from imgsearch.storage.postgres.connection import Link
from imgsearch.storage.postgres.external_index import open_index
from imgsearch.storage.postgres.following import Follower
from imgsearch.storage.postgres.index_elsewhere import IndexElsewhere
from imgsearch.storage.postgres.locks import Lock, give_back, hold, is_held
from imgsearch.storage.postgres.remote_errors import remote_errors
from imgsearch.storage.postgres.rows import Generation
from imgsearch.storage.postgres.store import Store
from imgsearch.storage.postgres.vector_index import VectorSearch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.projection import Projection
    from imgsearch.storage.port import Generation as PublishedGeneration
    from imgsearch.storage.port import Index
    from imgsearch.storage.postgres.address import Address
    from imgsearch.storage.postgres.external_index import ExternalIndex

__all__ = ["PostgresEngine"]

REWRITTEN_AT_ONCE: Final = 4_096
INDEX_WAIT_SECONDS: Final = 60.0
"""How long a change of all features waits for an index that is being made."""


class PostgresEngine:
    """An instance in PostgreSQL, open for one thread at a time.

    Args:
        folder: that names the instance, or its address.
        address: of the instance.
        write: whether it is to be written; such engines share a lock.
        timeout: seconds to wait for others where only one may go on.
        alone: let nobody else write meanwhile.
    """

    is_shared: Final = True
    is_replaced: Final = False

    def __init__(
        self, folder: Path, address: Address, *, write: bool = False, timeout: float = 0.0, alone: bool = False
    ) -> None:
        self.folder = folder
        self.timeout = timeout

        def prepare(link: Link) -> None:
            if write:
                hold(link, Lock.WRITING, timeout, shared=not alone)
                self._check_unchanged(link)

        self._external: ExternalIndex | None = None
        self._follower = Follower(self)
        self.follows = True
        """Whether an index outside of the database is brought up to date between commits."""
        self._made_with: list[tuple[str, ...]] | None = None
        self._link = Link(address, prepare)
        try:
            self.store = Store(self._link)
        except BaseException:
            self._link.close()
            raise

    def _check_unchanged(self, link: Link) -> None:
        """Raise if a writer that has lost its connection finds features of another model or tuning.

        Raises:
            InstanceLocked
        """
        made_with = link.rows("SELECT value FROM settings WHERE name IN ('model', 'tuned') ORDER BY name")
        if self._made_with not in (None, made_with):
            raise InstanceLocked(
                f"all features in {link.address.url} were changed while this process had lost its connection: "
                "run the command again"
            )
        self._made_with = made_with

    def close(self) -> None:
        """Close the connections, and give back the locks."""
        if self._external is not None:
            self._external.close()
        self._link.close()

    def errors(self) -> AbstractContextManager[None]:
        """Translate errors of the driver into those of ``imgsearch.errors``."""
        return remote_errors(self._link.address)

    def prepare(self) -> None:
        """There is nothing to load."""

    @contextmanager
    def committing(self, products: Collection[str] | None = None) -> Iterator[Store]:
        """Commit the changes of a block atomically; they are durable when it ends.

        Args:
            products: ProductIds that the block changes; None: any.

        Raises:
            RemoteUnavailable, StorageFull, StorageUnwritable: no change of the block is kept.
        """
        with self.store.writing(products):
            yield self.store
        if self.follows:
            self._follower.follow()

    def about(self) -> dict[str, str | int]:
        """The server, and how far the index follows."""
        facts = self._link.facts
        found: dict[str, str | int] = {
            "Engine": self._link.address.url,
            "Server": f"PostgreSQL {facts.server_text}, pgvector {facts.vector}",
        }
        if self.store.is_external:
            row = self._link.row(
                "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(since)), 0)::bigint FROM pending "
                "WHERE acknowledged IS NULL"
            )
            assert row is not None
            found |= {"Index": self._told_version(), "Pending": row[0], "PendingSeconds": row[1]}
            found["Removed"] = self.store.count_removed()
        return found

    def _told_version(self) -> str:
        try:
            return self.external.version()
        except RemoteUnavailable as error:
            return error.message

    # The index

    @property
    def external(self) -> ExternalIndex:
        """The index outside of the database, of an instance that has one."""
        if self._external is None:
            row = self._link.row("SELECT address FROM external_index")
            if row is None:
                raise self.store.damage("the address of the index")
            self._external = open_index(row[0], self._link.address.schema)
        return self._external

    def use_external(self, external: ExternalIndex) -> None:
        """Use this index outside of the database, instead of opening the one at the stored address."""
        self._external = external

    def index(self, generation: PublishedGeneration) -> Index:
        """The index of the generation that the current snapshot names.

        Raises:
            IndexReplaced, RemoteUnavailable
        """
        if not isinstance(generation, Generation):
            raise IndexReplaced
        if self.store.is_external:
            return IndexElsewhere(self.store, generation, self.external)
        return VectorSearch(self.store, generation)

    def is_index_due(self) -> bool:
        """Whether there is something to bring up to date, and nobody else is at it."""
        due = self._follower.is_due() if self.store.is_external else index_building.is_due(self.store)
        return due and not is_held(self._link, Lock.INDEX)

    def count_to_index(self) -> int:
        """How many items a rebuild would index.

        Raises:
            InstanceEmpty: there are none.
        """
        count = self.store.count()
        if count == 0:
            raise InstanceEmpty(f"{self.folder} has no items, so there is nothing to rebuild: add pictures first")
        return count

    @contextmanager
    def indexing(self, timeout: float) -> Iterator[None]:
        """Be the only one to make an index.

        Raises:
            InstanceLocked
        """
        hold(self._link, Lock.INDEX, timeout)
        try:
            yield
        finally:
            give_back(self._link, Lock.INDEX)

    def refresh(self) -> Generation | None:
        """Bring the index up to date the cheapest way; leaves it to another process that is at it.

        Raises:
            InstanceEmpty: there are no items.
            RemoteUnavailable: the index stays as it is.
        """
        self.count_to_index()
        if self.store.is_external:
            self._follower.catch_up()
            return self.store.generation()
        try:
            with self.indexing(0):
                return index_building.build(self.store, whole=False)
        except InstanceLocked:
            return self.store.generation()

    def rebuild(self) -> Generation:
        """Make the index anew and publish it; searches and other writers go on.

        Raises:
            InstanceEmpty: there are no items.
            InstanceLocked: another process makes an index for longer than ``timeout``.
            RemoteUnavailable, StorageFull, StorageUnwritable: the old index stays.
        """
        self.count_to_index()
        with self.indexing(self.timeout):
            if self.store.is_external:
                return rebuilding.rebuild(self.store, self.external)
            return index_building.build(self.store, whole=True)

    def retune(self, tuning: Projection | None) -> Generation | None:
        """Rewrite all features for another tuning (None: none), in one commit, then the index.

        Until the new index is there, searches compare with all items. Nobody else writes meanwhile.

        Returns:
            The new generation; None for an empty instance.
        """
        store = self.store
        present = store.tuning()

        bits = Coding.of(store.settings().get("model")).bits

        def converted(features: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
            plain = features.astype(np.float32) if present is None else present.undone(features)
            return quantised(plain if tuning is None else tuning.applied(plain), bits).astype(FEATURE_TYPE)

        with self.indexing(max(self.timeout, INDEX_WAIT_SECONDS)):
            with self.committing() as writing:
                writing.rewrite_features(converted, chunk=REWRITTEN_AT_ONCE)
                writing.set_tuning(tuning)
                index_building.remove_all(writing)
            if not store.count():
                return None
            if store.is_external:
                return rebuilding.rebuild(store, self.external)
            return index_building.build(store, whole=True)

    def drop_index_if_empty(self) -> None:
        """Remove the index of an empty instance."""
        if self.store.count():
            return
        if self.store.generation() is not None:
            with self.committing() as store:
                if store.count():  # another writer has come before
                    return
                store.unpublish()
                store.link.run("DELETE FROM removed")
        if self.store.is_external:
            self._follower.clear()

    def table_bytes(self) -> int:
        """The size of all tables and indexes."""
        row = self._link.row(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class "
            "WHERE relnamespace = %s AND relkind = 'r'",
            (self._link.facts.schema,),
        )
        return 0 if row is None else int(row[0])
