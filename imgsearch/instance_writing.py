"""The part of ``Instance`` that changes an instance; each method takes the writer lock for as long as it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from imgsearch.instance_syncing import InstanceSyncing
from imgsearch.pictures import addition
from imgsearch.values import Key, several_paths
from imgsearch.vision.devices import CPU

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from imgsearch.filters.tree import Condition
    from imgsearch.jobs.deleting import Deletion
    from imgsearch.jobs.tuning import TuningReport
    from imgsearch.jobs.unchanged import Given
    from imgsearch.jobs.writer import Writer
    from imgsearch.opened import Opened
    from imgsearch.pictures import PictureLike
    from imgsearch.shards import Shard
    from imgsearch.storage.port import Generation
    from imgsearch.types import AddPicture, Operation, Outcome
    from imgsearch.values import Attributes, Region

    StrPath = str | os.PathLike[str]

__all__ = ["InstanceWriting"]


class InstanceWriting(InstanceSyncing):
    """Adding, deleting, indexing, moving items in and out."""

    _opened: Opened

    def add(
        self,
        picture: PictureLike,
        product_id: str,
        pic_name: str | None = None,
        *,
        category: int | str | None = None,
        crop: bool = True,
        region: Region | None = None,
        attributes: Attributes | None = None,
        lock_timeout: float = 0.0,
    ) -> Outcome:
        """Add one picture, or replace the one of that name; it is committed when this returns.

        Takes what ``pictures.addition`` does, and seconds to wait for another writer. ``indexing`` is for many.

        Raises:
            InputError: the picture or one of the values cannot be used.
            InstanceLocked, InstanceDamaged, InvalidModel, StampMismatch, StorageFull, StorageUnwritable
        """
        operation = addition(
            picture,
            product_id,
            pic_name,
            category=category,
            crop=crop,
            region=region,
            attributes=attributes,
            max_bytes=self._opened.limits.max_bytes,
        )
        outcome = self._applied(operation, lock_timeout)
        if outcome.error is not None:
            raise outcome.error
        return outcome

    def _applied(self, operation: AddPicture, lock_timeout: float) -> Outcome:
        from imgsearch.jobs.applying import apply_one

        return apply_one(self._opened, operation, lock_timeout)

    def apply(
        self,
        operations: Iterable[Operation],
        *,
        workers: int | None = None,
        readers: int = 0,
        rebuild: bool = False,
        device: str = CPU,
        lock_timeout: float = 0.0,
    ) -> list[Outcome]:
        """Execute operations; all are committed at return. Arguments and errors are those of ``apply_stream``."""
        return list(
            self.apply_stream(
                operations,
                workers=workers,
                readers=readers,
                rebuild=rebuild,
                device=device,
                lock_timeout=lock_timeout,
            )
        )

    def apply_stream(
        self,
        operations: Iterable[Given],
        *,
        workers: int | None = None,
        readers: int = 0,
        rebuild: bool = False,
        distinct: bool = False,
        device: str = CPU,
        lock_timeout: float = 0.0,
    ) -> Iterator[Outcome]:
        """Execute operations in order while the outcomes are iterated.

        Pictures are read and extracted in parallel and committed in order, in batches. An outcome is yielded after its
        commit: it is then on disk, and searches find it. A failed picture is an outcome too and does not end the
        stream. A picture whose bytes, options and attributes are unchanged is not extracted again, nor one whose
        bytes are stored with the same options under another key.

        Args:
            operations: read no further ahead than needed.
            workers: pictures under way at once; by default three per core, more with another device than the CPU.
            readers: pictures that are read at once beside these, for sources that wait for a network.
            rebuild: rebuild the index at the end, even if it is not due, before releasing the lock.
            distinct: refuse a picture whose key another picture among the operations has, instead of replacing it.
            device: where the networks run: ``cpu``, ``cuda`` or ``cuda:N``.
            lock_timeout: seconds to wait for another writer.

        Raises:
            UsageError, DeviceUnusable: there is no such device, or it cannot be used here.
            InstanceEmpty: there are no items, which ``rebuild`` needs before anything is done.
            InstanceLocked, InstanceDamaged, InvalidModel, StampMismatch, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.applying import apply_stream

        return apply_stream(
            self._opened,
            operations,
            workers=workers,
            readers=readers,
            rebuild=rebuild,
            distinct=distinct,
            device=device,
            lock_timeout=lock_timeout,
        )

    def indexing(self, *, workers: int | None = None, device: str = CPU, lock_timeout: float = 30.0) -> Writer:
        """A writer for continuous use: any thread may submit, and networks are loaded once; see ``Writer``."""
        from imgsearch.jobs.writer import Writer

        return Writer(self._opened, workers=workers, device=device, lock_timeout=lock_timeout)

    def reindex(self, *, workers: int | None = None, device: str = CPU, lock_timeout: float = 0.0) -> list[Outcome]:
        """Recompute the features of all items. Arguments and errors are those of ``reindex_stream``."""
        return list(self.reindex_stream(workers=workers, device=device, lock_timeout=lock_timeout))

    def reindex_stream(
        self, *, workers: int | None = None, device: str = CPU, lock_timeout: float = 0.0
    ) -> Iterator[Outcome]:
        """Recompute the features of all items with this release's version, while the outcomes are iterated.

        Pictures are read from their original locations, in their present state. New features are kept in a folder
        inside the instance's, and replace the old ones in one commit when all items are done; until then searches use
        the old ones, and a later call continues where this one stopped. After a failure the instance is unchanged and
        ``needs_reindex`` stays true. If that is false, only perceptual hashes that items lack are computed, each commit
        by itself; no network runs.

        Raises:
            InstanceExists: other files are in the place of the new features.
            UsageError, DeviceUnusable, InvalidModel, InstanceLocked, InstanceDamaged, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.reindexing import reindex_stream

        return reindex_stream(self._opened, workers=workers, device=device, lock_timeout=lock_timeout)

    def dry_run(self, operations: Iterable[Operation]) -> Iterator[Outcome]:
        """What ``apply`` would do, without decoding a picture: each operation is compared with the stored items.

        So a picture that cannot be decoded is reported as added, and each of several operations on one key is reported
        as if it were the only one.
        """
        from imgsearch.jobs.dry_run import dry_run

        with self._opened.reading() as engine:
            yield from dry_run(engine.store, operations, self._opened.kind, self._opened.limits.max_bytes)

    def delete(
        self, product_id: str, pic_name: str | None = None, *, dry_run: bool = False, lock_timeout: float = 0.0
    ) -> Deletion:
        """Delete one picture of a product, or all of them; what is not there is not an error.

        Raises:
            InvalidValue, InstanceLocked, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.deleting import of_key

        return self._delete(of_key(product_id, pic_name), dry_run, lock_timeout)

    def delete_matching(self, expression: str, *, dry_run: bool = False, lock_timeout: float = 0.0) -> Deletion:
        """Delete all items that a filter selects.

        Raises:
            InvalidFilter, InstanceLocked, StorageFull, StorageUnwritable
        """
        from imgsearch.filters.parser import parse_filter

        return self._delete(parse_filter(expression), dry_run, lock_timeout)

    def _delete(self, condition: Condition, dry_run: bool, lock_timeout: float) -> Deletion:
        from imgsearch.jobs.deleting import delete_matching

        return delete_matching(self._opened, condition, dry_run=dry_run, lock_timeout=lock_timeout)

    def delete_stream(
        self, selections: Iterable[tuple[str, str | None]], *, dry_run: bool = False, lock_timeout: float = 0.0
    ) -> Iterator[Deletion]:
        """Delete many products and pictures, in commits of many; yields what each selection deleted, in order.

        Args:
            selections: ProductId, and PicName or None for all of its pictures; read no further ahead than a commit.
            dry_run: delete nothing.
            lock_timeout: seconds to wait for another writer.

        Raises:
            InvalidValue: of the first invalid selection, when those before it are done.
            InstanceLocked, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.deleting import delete_stream

        return delete_stream(self._opened, selections, dry_run=dry_run, lock_timeout=lock_timeout)

    def delete_files(self, paths: Iterable[StrPath], *, dry_run: bool = False, lock_timeout: float = 0.0) -> Deletion:
        """Delete the items that were made from these files, whether the files still exist or not.

        Raises:
            InstanceLocked, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.deleting import Deletion, of_files

        given = several_paths(paths)
        return self._delete(of_files(given), dry_run, lock_timeout) if given else Deletion([])

    def update(
        self,
        filter: str | None = None,  # noqa: A002  # its name in SearchOptions
        *,
        product_id: str | None = None,
        pic_name: str | None = None,
        attributes: Mapping[str, int | str | None] | None = None,
        category: int | str | None = None,
        dry_run: bool = False,
        lock_timeout: float = 0.0,
    ) -> list[Key]:
        """Change attributes or category of stored items without their pictures, in one commit.

        Args:
            filter: of the items that it selects; or
            product_id: of all pictures of a product; and
            pic_name: of this one only.
            attributes: new values by the names in filters, such as ``str_attr``; None unsets one. Others stay.
            category: the new category.
            dry_run: change nothing.
            lock_timeout: seconds to wait for another writer.

        Returns:
            The keys of the items that differ afterwards.

        Raises:
            UsageError: not exactly one of filter and product; nothing to change; an attribute that does not exist.
            ItemNotFound: there is no such product or picture.
            InvalidFilter, InvalidValue, InvalidCategory, InstanceLocked, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.updating import changes_of, selected, update_items

        changes = changes_of(self._opened, attributes, category)
        condition = selected(self._opened, filter, product_id, pic_name)
        return update_items(self._opened, condition, changes, dry_run=dry_run, lock_timeout=lock_timeout)

    def check_rebuildable(self) -> None:
        """Refuse to rebuild where there is nothing to index.

        Raises:
            InstanceEmpty: there are no items.
        """
        with self._opened.reading() as engine:
            engine.count_to_index()

    def rebuild(self, *, lock_timeout: float = 0.0) -> Generation:
        """Rebuild the index from the stored features and publish it; searches continue meanwhile.

        Raises:
            InstanceEmpty: there are no items.
            InstanceLocked, StorageFull, StorageUnwritable
        """
        self.check_rebuildable()  # before it waits for the lock
        with self._opened.writing(lock_timeout) as engine:
            return engine.rebuild()

    def index(self, *, lock_timeout: float = 0.0) -> int:
        """Bring the index up to date with what was added and deleted, if that is due; writers do the same.

        With an index on a server of its own, anybody may do it, any number of times.

        Returns:
            How many items were added to the index or deleted from it; others may do it at the same time.

        Raises:
            InstanceLocked, StorageFull, StorageUnwritable
            RemoteUnavailable: what is left waits.
        """
        from imgsearch.jobs.upkeep import index_waiting

        return index_waiting(self._opened, lock_timeout)

    def tune(self, *, lock_timeout: float = 0.0) -> TuningReport:
        """Learn a projection from the products with several pictures, and keep it if products not seen gain by it.

        What is stored is then rewritten, with its index, in one commit; new pictures and query pictures go through the
        projection from then on. Where nothing is gained, nothing is changed.

        Raises:
            NotTunable: features of an older version, or codes; or too few products have several pictures.
            InstanceEmpty, InstanceLocked, InstanceDamaged, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.tuning import tune_instance

        return tune_instance(self._opened, lock_timeout)

    def reset_tuning(self, *, lock_timeout: float = 0.0) -> bool:
        """Undo ``tune``, but for the rounding to half precision; whether the instance was tuned.

        Raises:
            InstanceLocked, InstanceDamaged, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.tuning import reset_tuning

        return reset_tuning(self._opened, lock_timeout)

    def import_items(
        self, folder: StrPath, *, rebuild: bool = True, shard: Shard | None = None, lock_timeout: float = 0.0
    ) -> list[Outcome]:
        """Add or replace the items of an export; takes and raises what ``import_stream`` does."""
        return list(self.import_stream(folder, rebuild=rebuild, shard=shard, lock_timeout=lock_timeout))

    def import_stream(
        self, folder: StrPath, *, rebuild: bool = True, shard: Shard | None = None, lock_timeout: float = 0.0
    ) -> Iterator[Outcome]:
        """Add or replace the items of an export while the outcomes are iterated; no picture and no network is needed.

        Features that are not tuned go through the instance's tuning; an instance without items takes over that of tuned
        ones. ``rebuild=False`` leaves the index as it is. With a ``shard``, only items of its products are taken.

        Raises:
            InvalidExport, StampMismatch: before anything is done, or (a file turns out to be cut off) when what lies
                before it is committed.
            InstanceLocked, InstanceDamaged, StorageFull, StorageUnwritable
        """
        from imgsearch.transfer.importing import import_stream

        return import_stream(self._opened, Path(folder), rebuild=rebuild, shard=shard, lock_timeout=lock_timeout)

    def export(self, folder: StrPath) -> int:
        """Write all items with their features to a folder; how many. Takes and raises what ``export_stream`` does."""
        return sum(1 for _ in self.export_stream(folder))

    def export_stream(self, folder: StrPath) -> Iterator[Key]:
        """Write all items to files that any program can read, while their keys are iterated; others may write.

        Raises:
            InstanceExists: the folder holds something.
            InstanceDamaged, StorageFull, StorageUnwritable
        """
        from imgsearch.transfer.exporting import export_stream

        return export_stream(self._opened, Path(folder))

    def create_alike(self, folder: StrPath) -> None:
        """Make an empty instance of the same kind, model, limits and OSS region as this one.

        Args:
            folder: missing or empty; or an address (``postgresql://…``).

        Raises:
            InstanceExists, InvalidModel, StampMismatch, RemoteUnavailable, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.creation import create_alike
        from imgsearch.storage.backends import located

        create_alike(self._opened, located(folder))
