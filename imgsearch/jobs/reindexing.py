"""Recomputing an instance's features from its pictures in their original locations.

Each item becomes an operation on the successor, a separate instance, so finished items are skipped as in ``add``. The
picture itself is needed only if the successor does not have it yet.
"""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgsearch.cores import available_cores
from imgsearch.durable_fs import file_errors, make_private_folder
from imgsearch.errors import ImgsearchError, InstanceDamaged, InstanceExists, UnreadableSource, UsageError
from imgsearch.filters.tree import EVERYTHING
from imgsearch.jobs.applying import outcomes_of
from imgsearch.jobs.devices import DEVICES
from imgsearch.jobs.indexing import IndexingRun
from imgsearch.opened import Opened
from imgsearch.sources.files import FilePicture
from imgsearch.storage import successor
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.check import check
from imgsearch.storage.lock import writer_lock
from imgsearch.storage.sqlite.database import storage_errors
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store
from imgsearch.types import AddPicture
from imgsearch.values import PictureOptions, RegionMode
from imgsearch.vision.models import ModelRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imgsearch.types import Content, Outcome, Upsert

__all__ = ["count_reindexed", "lacks_hashes", "operations", "reindex_stream", "succeed", "successor_of"]


def reindex_stream(opened: Opened, *, workers: int | None, device: str, lock_timeout: float) -> Iterator[Outcome]:
    """Recompute the features of all items; see ``Instance.reindex_stream``."""
    if opened.needs_reindex:
        with opened.writing(lock_timeout) as engine:
            if not isinstance(engine, Engine):  # a successor is a folder inside the instance's
                raise UsageError(
                    f"the items of {opened.folder} lie in a database, where they cannot be reindexed in place: make a "
                    "new instance with 'imgsearch init' and another ?schema=NAME, and add the pictures to it"
                )
            yield from _reindexed(opened, engine, workers, device)
    elif lacks_hashes(opened):
        from imgsearch.jobs.hashing import hash_missing

        with opened.writing(lock_timeout) as engine:
            yield from hash_missing(engine, opened.limits, workers or available_cores())


def lacks_hashes(opened: Opened) -> bool:
    """Whether items have no perceptual hash."""
    with opened.reading() as engine, engine.store.reading():
        return any(None in piece.hashes for piece in engine.store.fingerprints(EVERYTHING))


def _reindexed(opened: Opened, engine: Engine, workers: int | None, device: str) -> Iterator[Outcome]:
    if not opened.needs_reindex:  # another has done it before the lock was given
        return
    record, whole = opened.model.renewed(), True
    if not record.dimension:
        record = opened.convert(record).record
    with successor_of(engine, record) as new:
        made = Opened(new.folder, new, cache=opened.cache, announce=opened.announce)
        label = made.usable(device).label
        with made.pipeline(workers=workers, device=device) as pipeline:
            run = IndexingRun[None](new, pipeline, opened.kind, label)
            for outcome in outcomes_of(run, operations(engine.store, new.store)):
                whole = whole and outcome.error is None
                yield outcome
        if whole:
            succeed(engine, new)
    if whole:
        engine.remove_predecessor()
        opened.refresh(engine.store)


def count_reindexed(opened: Opened) -> int | None:
    """How many items a reindex that was begun has done; None where none was begun, or it cannot be told."""
    folder = successor.home(opened.folder)
    if not opened.needs_reindex or not Engine.exists(folder):
        return None
    with suppress(ImgsearchError, FileNotFoundError), closing(Engine.open(folder)) as engine:
        return engine.store.count()
    return None  # it is just taking its place; or it is damaged, which the next reindex tells


@dataclass(frozen=True, slots=True)
class _KeptPicture:
    """The picture of an item in its original location."""

    path: Path | None
    known: bytes | None
    """The successor's token for this picture, which it has already."""

    def token(self) -> bytes | None:
        if self.known is not None or self.path is None:
            return self.known
        return FilePicture(self.path).token()

    def read(self, max_bytes: int) -> Content:
        """Read the picture as it is now.

        Raises:
            PictureTooLarge, UnreadableSource
        """
        if self.path is None:
            raise UnreadableSource(
                "the location of this picture is unknown, as it came from OSS or from an import: add it from a file, "
                "or delete it here and add it to a new instance"
            )
        return FilePicture(self.path).read(max_bytes)


def operations(old: Store, new: Store) -> Iterator[AddPicture]:
    """One operation per item of an instance, in the order of addition.

    Args:
        old: of the instance, whose lock the caller holds.
        new: of its successor.

    Raises:
        InstanceDamaged: an item is corrupted.
    """
    for item in old.all_stored_records():
        path = None if item.location is None else item.location.path(item.key.pic_name)
        options = _options(item)
        done = new.item(item.key)
        known = done.token if done is not None and done.content_hash == item.extracted.content_hash else None
        source = f"{item.key.product_id} {item.key.pic_name}" if path is None else str(path)
        yield AddPicture(source, item.key, _KeptPicture(path, known), options, item.attributes, item.location)


def _options(item: Upsert) -> PictureOptions:
    """The options with which the item was added."""
    return PictureOptions(
        item.extracted.category_id if item.category_given else None,
        crop=item.region_mode is not RegionMode.WHOLE,
        region=item.extracted.region if item.region_mode is RegionMode.GIVEN else None,
    )


@contextmanager
def successor_of(engine: Engine, record: ModelRecord) -> Iterator[Engine]:
    """Open the successor of an instance for writing and lock it: the one begun earlier, else an empty one.

    Items that the instance no longer has are deleted from it.

    Args:
        engine: of the instance, whose lock the caller holds.
        record: of the model for the successor's features; complete.

    Raises:
        InstanceExists: other files are in its folder.
        InstanceDamaged, InstanceLocked, StorageFull, StorageUnwritable
    """
    folder, old = successor.home(engine.folder), engine.store
    with file_errors(engine.folder):
        make_private_folder(folder)
    with writer_lock(folder):
        if Engine.exists(folder) and not _fits(folder, old, record):
            with file_errors(folder):
                successor.clear(folder)
        if not Engine.exists(folder):
            if not all(Engine.is_leftover(path) for path in folder.iterdir()):
                raise InstanceExists(f"{folder} is needed for the new features, but holds other files: move them")
            settings = {name: value for name, value in old.settings().items() if name != DEVICES}
            Engine.create(folder, {**settings, "model": record.as_dict()}, old.page_bytes)
        new = Engine.open(folder, write=True)
        try:
            new.drop_index()  # it may have one if it was repaired, or cut off before the switch
            with storage_errors(folder), new.store.beside(old), new.store.writing():
                new.store.keep_those_of_predecessor(same_content=False)
                # Items of just-written files have no token; set one, as their pictures are not needed again either.
                new.store.set_tokens(new.store.contents_without_token())
            yield new
        finally:
            new.close()


def _fits(folder: Path, old: Store, record: ModelRecord) -> bool:
    """Whether an unfinished successor can be continued: this program may have been updated since."""
    with closing(Store.open(folder / DATABASE_NAME, write=True)) as store:
        begun = ModelRecord.from_dict(store.made_by())
        return begun.stamp() == record.stamp() and store.page_bytes == old.page_bytes


def succeed(engine: Engine, new: Engine) -> None:
    """Replace the instance by a successor that has all items.

    Args:
        engine: of the instance, whose lock the caller holds.
        new: of the successor, from ``successor_of``.

    Raises:
        InstanceDamaged: the successor is damaged.
        StorageFull, StorageUnwritable: nothing has changed.
    """
    old = engine.store
    with storage_errors(new.folder), new.store.beside(old), new.store.writing():
        new.store.take_quarantine_of_predecessor()
    problems = check(new.folder, read_data=True, locked=True)
    if problems:
        raise InstanceDamaged(
            f"the new features are damaged, so the old ones stay ({problems[0].message}): "
            f"run 'imgsearch check --repair -i {new.folder}', then run this command again"
        )
    if new.store.count() != old.count():
        raise new.store.damage("the number of items")
    engine.succeed_by(new)
