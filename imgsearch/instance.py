"""The gateway: one instance, opened, locked, written and searched. This is the public Python API.

An instance is a folder. Its kind, model and limits are fixed when it is made. Reading needs no lock; each writing
method takes the writer lock for as long as it runs.
"""

from __future__ import annotations

import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from imgsearch.durable_fs import file_errors, make_private_folder
from imgsearch.errors import DeviceUnusable, ImgsearchError, InstanceExists, ItemNotFound, StampMismatch, UsageError
from imgsearch.locations import cache_folder
from imgsearch.service.categories import Kind
from imgsearch.types import Key
from imgsearch.vision.devices import CPU, HINT, MAX_BATCH, Device
from imgsearch.vision.limits import LIMIT_PROFILES, Limits
from imgsearch.vision.models import DEFAULT_MODEL, ModelRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from imgsearch.errors import InputError
    from imgsearch.filters.tree import Condition
    from imgsearch.jobs.tuning import TuningReport
    from imgsearch.search.searcher import Searcher
    from imgsearch.storage.engine import Engine
    from imgsearch.storage.integrity.check import Problem
    from imgsearch.storage.integrity.repair import Repair
    from imgsearch.storage.permissions import Exposure
    from imgsearch.storage.port import Generation
    from imgsearch.storage.sqlite.store import Store
    from imgsearch.types import Extracted, Item, Operation, Outcome, PictureOptions, PictureSource
    from imgsearch.vision.openvino_export import ConvertedModel
    from imgsearch.vision.pipeline import Pipeline
    from imgsearch.vision.textual import TextEncoder

__all__ = ["Deletion", "Instance", "InstanceInfo"]


SETTINGS: Final = ("kind", "limits", "region_id", "model", "created")
"""What every instance's database has as settings, from ``create`` on."""

WORKERS_PER_CORE: Final = 3
"""One decodes, one waits for the network, one for the GIL or the disk: fewer leave cores idle."""
BATCHED_WORKERS_PER_CORE: Final = 8
"""Beside a device that takes batches, cores do little but decode, and most workers wait for one of three batches."""
MAX_BATCHED_WORKERS: Final = 2 * MAX_BATCH
"""One batch runs, one gathers; each worker has a process that decodes, so more would cost memory for nothing."""


def _ignore(_message: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion removed, or would remove."""

    keys: list[Key]


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    """Facts about an instance."""

    folder: Path
    kind: Kind
    region_id: str | None
    created: int
    """Seconds since the epoch."""
    items: int
    products: int
    categories: dict[int, int]
    """Items per category, without the empty ones."""
    limits: Limits
    stamp: dict[str, Any]
    needs_reindex: bool
    """Its features are of an older version than this release makes."""
    reindexed: int | None
    """Items of which a reindex that was begun has made new ones; None where none was begun."""
    devices: list[str]
    """What its features were made with; their stamp is the same."""
    generation: Generation | None
    unindexed: int
    """Items newer than the index; they are searched exactly beside it."""
    disk_bytes: int


class Instance:
    """One instance, open for searching; writing methods lock it while they run.

    Use as a context manager, or call ``close``.
    """

    def __init__(self, folder: Path, engine: Engine, *, cache: Path | None, announce: Callable[[str], None]) -> None:
        self.folder = folder
        self._engine = engine
        self._cache = cache or cache_folder()
        self._announce = announce
        settings = engine.store.settings()
        for name in SETTINGS:
            if name not in settings:
                raise engine.store.damage(f"the setting {name!r}")
        self.kind = Kind(settings["kind"])
        self.limits = Limits(**settings["limits"])
        self.region_id: str | None = settings["region_id"]
        self.created: int = settings["created"]
        self._made_by: dict[str, Any] = settings["model"]
        self.model = ModelRecord.from_dict(self._made_by)

    def _refresh(self, store: Store) -> None:
        """Take note of a reindex since this was opened: all else about an instance is fixed."""
        made_by = store.made_by()
        if made_by != self._made_by:
            self._made_by, self.model = made_by, ModelRecord.from_dict(made_by)
            self.__dict__.pop("_converted", None)

    # Making and opening

    @classmethod
    def create(
        cls,
        folder: Path,
        kind: Kind = Kind.PRODUCT,
        *,
        model: str = DEFAULT_MODEL,
        weights: Path | None = None,
        limits: Limits = LIMIT_PROFILES["local"],
        region_id: str | None = None,
        codes: bool = False,
        cache: Path | None = None,
        announce: Callable[[str], None] = _ignore,
        lock_timeout: float = 0.0,
    ) -> None:
        """Make an empty instance; the folder is made where it is missing.

        Args:
            folder: missing or empty.
            kind: with categories or without.
            model: an embedded model, a timm architecture, or the path of a folder with a model's towers.
            weights: a local file of weights for it.
            limits: what a picture may measure.
            region_id: OSS region whose buckets it may import from.
            codes: keep two bits of each number of a feature, not half precision.
            cache: of converted models; the user's own by default.
            announce: told in one line when a model has to be converted first.
            lock_timeout: seconds to wait for another process that makes one there.

        Raises:
            InstanceExists: there is one, or other files.
            InstanceLocked, InvalidModel, StorageFull, StorageUnwritable
        """
        from imgsearch.vision.models import find_model

        _check_free(folder)
        record = find_model(model, weights)
        if not record.dimension:  # known only after conversion
            record = cls._convert(record, cache or cache_folder(), announce).record
        cls._make(folder, kind, limits, region_id, replace(record, coded=codes), lock_timeout)

    def create_alike(self, folder: Path) -> None:
        """Make an empty instance of the same kind, model, limits and OSS region as this one.

        Args:
            folder: missing or empty.

        Raises:
            InstanceExists: there is one, or other files.
            InvalidModel, StampMismatch: the model cannot be had any more, or not as it was.
            StorageFull, StorageUnwritable
        """
        _check_free(folder)
        record = self._converted.record  # what is wrong with the model is told of this instance, not of its likeness
        self._make(folder, self.kind, self.limits, self.region_id, record)

    @staticmethod
    def _make(
        folder: Path, kind: Kind, limits: Limits, region_id: str | None, record: ModelRecord, lock_timeout: float = 0.0
    ) -> None:
        from imgsearch.storage.engine import Engine
        from imgsearch.storage.lock import writer_lock

        with file_errors(folder):
            make_private_folder(folder)
        with writer_lock(folder, lock_timeout):
            if Engine.exists(folder):
                raise InstanceExists(f"there is an instance in {folder} already")
            Engine.create(
                folder,
                {
                    "kind": kind,
                    "limits": limits.as_dict(),
                    "region_id": region_id,
                    "model": record.as_dict(),
                    "created": int(time.time()),
                },
            )

    @staticmethod
    def prepare(
        model: str = DEFAULT_MODEL,
        *,
        weights: Path | None = None,
        cache: Path | None = None,
        announce: Callable[[str], None] = _ignore,
    ) -> None:
        """Make all networks of a model ready for this machine, so that no later command waits for that.

        Args:
            model: as for ``create``; no instance is needed.
            weights: a local file of weights for it.
            cache: of converted models; the user's own by default.
            announce: told in lines what has to be done.

        Raises:
            InvalidModel, StorageFull, StorageUnwritable
        """
        from imgsearch.vision.models import find_model
        from imgsearch.vision.preparation import prepare

        prepare(find_model(model, weights), cache or cache_folder(), announce)

    def prepare_networks(self) -> None:
        """Like ``prepare``, for the model of this instance.

        Raises:
            InvalidModel, StampMismatch, StorageFull, StorageUnwritable
        """
        from imgsearch.vision.preparation import prepare

        prepare(self._converted.record, self._cache, self._announce)

    @classmethod
    def open(cls, folder: Path, *, cache: Path | None = None, announce: Callable[[str], None] = _ignore) -> Self:
        """Open an instance.

        Raises:
            InstanceNotFound, InstanceDamaged, NewerFormat
        """
        from imgsearch.storage.engine import Engine

        engine = Engine.open(folder)
        try:
            return cls(folder, engine, cache=cache, announce=announce)
        except BaseException:
            engine.close()
            raise

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether the folder holds an instance."""
        from imgsearch.storage.engine import Engine

        return Engine.exists(folder)

    @staticmethod
    def shared_file_system(folder: Path) -> str | None:
        """The type of the file system under a folder, if other machines may use that too; None on a local disk.

        On such a one, locks may not keep writers apart, and SQLite's write-ahead log is not safe.
        """
        from imgsearch.storage.filesystem import shared_file_system

        return shared_file_system(folder)

    @staticmethod
    def check(folder: Path, *, read_data: bool = False) -> list[Problem]:
        """Look for damage in an instance, which need not be fit for opening; nothing is written, no lock is taken.

        Args:
            folder: of the instance.
            read_data: read everything and hold it against its checksums, not only structure, counts and references.

        Raises:
            InstanceNotFound, NewerFormat, OlderFormat, StorageUnwritable
        """
        from imgsearch.storage.engine import Engine
        from imgsearch.storage.integrity.check import check

        Engine.check_exists(folder)
        return check(folder, read_data=read_data, settings=SETTINGS)

    @staticmethod
    def exposures(folder: Path) -> list[Exposure]:
        """What others on this machine may read or alter in an instance's folder, by the modes there.

        Raises:
            InstanceNotFound, InstanceDamaged, StorageUnwritable
        """
        from imgsearch.storage.engine import Engine
        from imgsearch.storage.permissions import exposures

        Engine.check_exists(folder)
        with file_errors(folder):
            return exposures(folder)

    @staticmethod
    def repair(folder: Path, *, lock_timeout: float = 0.0) -> Repair:
        """Mend an instance: make the derived anew, put aside what is truth and broken, and say what that was.

        Raises:
            InstanceDamaged: too little is left of the database.
            InstanceNotFound, InstanceLocked, NewerFormat, StorageFull, StorageUnwritable
        """
        from imgsearch.storage.engine import Engine
        from imgsearch.storage.integrity.repair import repair
        from imgsearch.storage.lock import writer_lock

        Engine.check_exists(folder)
        with writer_lock(folder, lock_timeout):
            return repair(folder, settings=SETTINGS)

    def close(self) -> None:
        """Release what is open."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @staticmethod
    def _convert(record: ModelRecord, cache: Path, announce: Callable[[str], None]) -> ConvertedModel:
        from imgsearch.vision.openvino_export import prepared_models

        return prepared_models(record, cache, announce)

    @cached_property
    def _converted(self) -> ConvertedModel:
        if not self.model.can_be_made:
            way_out = "make new ones of the pictures with 'imgsearch add --reindex'"
            raise StampMismatch(
                f"the features in {self.folder} are of version {self.model.feature_version}, which this release does "
                f"not make: {way_out if self.model.is_older else 'install a newer imgsearch'}"
            )
        converted = self._convert(self.model, self._cache, self._announce)
        if converted.record.stamp() != self.model.stamp():
            raise StampMismatch(
                f"the features in {self.folder} were made by {self.model.name} in another version of imgsearch: "
                "make a new instance with 'imgsearch init' and add the pictures again"
            )
        return converted

    @property
    def model_is_at_hand(self) -> bool:
        """Whether the model lies in the cache, ready to be loaded; else the first picture takes some seconds more."""
        from imgsearch.vision.openvino_export import is_converted

        return is_converted(self.model, self._cache)

    def check_model(self, model: str, weights: Path | None = None) -> None:
        """Refuse to go on with another model than the instance's.

        Raises:
            StampMismatch
        """
        from imgsearch.vision.models import find_model

        asked = find_model(model, weights)
        if asked.name != self.model.name or (asked.weights_hash and asked.weights_hash != self.model.weights_hash):
            raise StampMismatch(
                f"{self.folder} was made with the model {self.model.name}, which cannot be mixed with "
                f"{asked.name}: make a new instance with 'imgsearch init --instance NEW --model {asked.name}' "
                "and add the pictures to it"
            )

    def _usable(self, name: str) -> Device:
        """The device of that name, which works and agrees with the CPU."""
        device = Device.parse(name)
        device.check()
        if device.is_torch and self.model.is_folder:
            raise DeviceUnusable(f"models in folders run on the CPU only, {self.model.name} too: {HINT}")
        if device.is_torch:
            from imgsearch.vision.device_parity import check_agreement

            check_agreement(self._converted, device, self._cache, self._announce)
        return device

    @contextmanager
    def _pipeline(
        self, *, workers: int | None = None, readers: int = 0, isolated: bool = True, device: str = CPU
    ) -> Iterator[Pipeline]:
        """The way of pictures; the network is loaded when the first picture needs it."""
        from threading import Lock

        from imgsearch.vision.pipeline import Pipeline
        from imgsearch.vision.runtime import Network

        parallel = workers != 1
        lock = Lock()
        loaded: list[Network] = []

        def network() -> Network:
            with lock:
                if not loaded:
                    network = Network(
                        self._converted, self._cache, parallel=parallel, announce=self._announce, device=device
                    )
                    loaded.append(network)
            return loaded[0]

        try:
            workers = workers or _default_workers(Device.parse(device))
            with Pipeline(network, self.limits, self.kind, workers, readers, isolated=isolated) as pipeline:
                yield pipeline
        finally:
            for one in loaded:
                one.close()

    @contextmanager
    def _writing(self, lock_timeout: float) -> Iterator[Engine]:
        """A second connection, for writing, while the lock is held."""
        from imgsearch.storage.engine import Engine
        from imgsearch.storage.lock import writer_lock

        with writer_lock(self.folder, lock_timeout):
            engine = Engine.open(self.folder, write=True)
            try:
                self._refresh(engine.store)
                yield engine
            finally:
                engine.close()

    # Writing

    def apply(
        self,
        operations: Iterable[Operation],
        *,
        workers: int | None = None,
        readers: int = 0,
        rebuild: bool = False,
        device: str = CPU,
        lock_timeout: float = 0.0,
    ) -> Iterator[Outcome]:
        """Carry out operations in their order, as a stream.

        Pictures are read and extracted side by side; commits are batches, in order. An outcome is yielded when it is
        committed: it is then on the disk and found by searches. A failed picture is an outcome too and does not end
        the stream. A picture whose bytes, options and attributes are those stored is not extracted again.

        Args:
            operations: as the sources give them; read no further ahead than needed.
            workers: pictures under way at once; by default three per core, more with another device than the CPU.
            readers: pictures that are read at once beside these, for sources that wait for a network.
            rebuild: train the index anew at the end, whether or not that is due, before another writer can come.
            device: where the networks run: ``cpu``, ``cuda`` or ``cuda:N``. Features of all of them can be mixed, which
                is measured where a device is first used with a model.
            lock_timeout: seconds to wait for another writer.

        Raises:
            UsageError, DeviceUnusable: there is no such device, or it cannot be used here.
            InstanceEmpty: there are no items, which ``rebuild`` needs before anything is done.
            InstanceLocked, InstanceDamaged, InvalidModel, StampMismatch, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.indexing import IndexingRun

        self._usable(device)  # before it waits for the lock
        with (
            self._writing(lock_timeout) as engine,
            self._pipeline(workers=workers, readers=readers, device=device) as pipeline,
        ):
            if rebuild:
                engine.count_to_index()
            label = self._usable(device).label
            yield from IndexingRun(engine, pipeline, self.kind, label).outcomes(operations)
            # Of an instance that the operations have emptied, there is nothing to rebuild.
            if rebuild and engine.store.count():
                engine.rebuild()
            elif engine.is_index_due():
                engine.refresh()
            else:
                engine.drop_index_if_empty()

    @property
    def needs_reindex(self) -> bool:
        """Whether its features are of an older version than this release makes; all goes on with these as they are."""
        return self.model.is_older

    def reindex(self, *, workers: int | None = None, device: str = CPU, lock_timeout: float = 0.0) -> Iterator[Outcome]:
        """Make the features of all items anew as this release makes them, as a stream; nothing where that is so.

        The pictures are read where they lie, as they are now. What is made lies in a folder inside of the instance's
        until all items are done, and takes its place then, in one commit; until then the instance is what it was. So an
        outcome says what is done, not what is found, and a later call goes on from there. Where the stream has a
        failure, the instance stays as it was, and ``needs_reindex`` true.

        Args:
            workers: pictures under way at once, as for ``apply``.
            device: where the networks run, as for ``apply``.
            lock_timeout: seconds to wait for another writer.

        Raises:
            UsageError, DeviceUnusable: there is no such device, or it cannot be used here.
            InstanceExists: other files lie where the new features go.
            InvalidModel: the model cannot be had any more.
            InstanceLocked, InstanceDamaged, StorageFull, StorageUnwritable
        """
        if self.needs_reindex:
            with self._writing(lock_timeout) as engine:
                yield from self._reindexed(engine, workers, device)

    def _reindexed(self, engine: Engine, workers: int | None, device: str) -> Iterator[Outcome]:
        from imgsearch.jobs.indexing import IndexingRun
        from imgsearch.jobs.reindexing import operations, succeed, successor_of

        if not self.needs_reindex:  # another has done it before the lock was given
            return
        record, whole = self.model.renewed(), True
        if not record.dimension:
            record = self._convert(record, self._cache, self._announce).record
        with successor_of(engine, record) as new:
            made = Instance(new.folder, new, cache=self._cache, announce=self._announce)
            label = made._usable(device).label
            with made._pipeline(workers=workers, device=device) as pipeline:
                run = IndexingRun(new, pipeline, self.kind, label)
                for outcome in run.outcomes(operations(engine.store, new.store)):
                    whole = whole and outcome.error is None
                    yield outcome
            if whole:
                succeed(engine, new)
        if whole:
            engine.remove_predecessor()
            self._refresh(engine.store)

    def count_reindexed(self) -> int | None:
        """How many items a reindex that was begun has done; None where none was begun, or it cannot be told."""
        from imgsearch.storage.engine import Engine
        from imgsearch.storage.successor import home

        folder = home(self.folder)
        if not self.needs_reindex or not Engine.exists(folder):
            return None
        with suppress(ImgsearchError, FileNotFoundError), closing(Engine.open(folder)) as engine:
            return engine.store.count()
        return None  # it is just taking its place; or it is damaged, which the next reindex tells

    def dry_run(self, operations: Iterable[Operation]) -> Iterator[Outcome]:
        """What ``apply`` would do, without reading a picture: each operation is compared with what is stored now.

        So a picture that cannot be decoded is told as added, and of several operations on one key each is told as
        if it were the only one.
        """
        from imgsearch.jobs.dry_run import dry_run

        return dry_run(self._engine.store, operations, self.kind)

    def delete(
        self, product_id: str, pic_name: str | None = None, *, dry_run: bool = False, lock_timeout: float = 0.0
    ) -> Deletion:
        """Delete one picture of a product, or all of them; what is not there is not an error.

        Raises:
            InvalidValue, InstanceLocked, StorageFull, StorageUnwritable
        """
        from imgsearch.filters.tree import product_condition

        Key(product_id, pic_name or "any")  # refuses what no item can be called
        return self._delete(product_condition(product_id, pic_name), dry_run, lock_timeout)

    def delete_matching(self, expression: str, *, dry_run: bool = False, lock_timeout: float = 0.0) -> Deletion:
        """Delete all items that a filter selects.

        Raises:
            InvalidFilter, InstanceLocked, StorageFull, StorageUnwritable
        """
        from imgsearch.filters.parser import parse_filter

        return self._delete(parse_filter(expression), dry_run, lock_timeout)

    def _delete(self, condition: Condition, dry_run: bool, lock_timeout: float) -> Deletion:
        if dry_run:
            with self._engine.store.reading():
                return Deletion(self._engine.store.keys(condition))
        with self._writing(lock_timeout) as engine:
            with engine.committing() as store:
                deletion = Deletion(store.delete(condition))
            engine.drop_index_if_empty()
            return deletion

    def check_rebuildable(self) -> None:
        """Refuse to rebuild where there is nothing to index.

        Raises:
            InstanceEmpty: there are no items.
        """
        self._engine.count_to_index()

    def rebuild(self, *, lock_timeout: float = 0.0) -> Generation:
        """Train the index anew from the stored features and swap it in; searches go on meanwhile.

        Raises:
            InstanceEmpty: there are no items.
            InstanceLocked, StorageFull, StorageUnwritable
        """
        self.check_rebuildable()  # before it waits for the lock
        with self._writing(lock_timeout) as engine:
            return engine.rebuild()

    def tune(self, *, lock_timeout: float = 0.0) -> TuningReport:
        """Learn a projection from the products with several pictures, and keep it if products not seen gain by it.

        What is stored is then rewritten, with its index, in one commit; new pictures and query pictures go through the
        projection from then on. Where nothing is gained, nothing is changed. Tuning again begins with features that are
        not tuned.

        Raises:
            NotTunable: features of an older version, or codes; or too few products have several pictures.
            InstanceEmpty: there are no items.
            InstanceLocked, InstanceDamaged, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.tuning import check_tunable, tune

        check_tunable(self._engine, self.model.shape_dimension, coded=self.model.coded)  # before it waits
        with self._writing(lock_timeout) as engine:
            check_tunable(engine, self.model.shape_dimension, coded=self.model.coded)
            return tune(engine, self.model.shape_dimension)

    def reset_tuning(self, *, lock_timeout: float = 0.0) -> bool:
        """Undo ``tune``: features are what they were, but for the rounding to half precision.

        Returns:
            Whether the instance was tuned.

        Raises:
            InstanceLocked, InstanceDamaged, StorageFull, StorageUnwritable
        """
        with self._writing(lock_timeout) as engine:
            tuned = engine.store.tuning() is not None
            if tuned:
                engine.retune(None)
            return tuned

    def import_items(self, folder: Path, *, rebuild: bool = True, lock_timeout: float = 0.0) -> Iterator[Outcome]:
        """Add or replace the items of an export, as a stream; no picture and no network is needed.

        An outcome is yielded when it is committed. A line that cannot be used is an outcome too. Features that are not
        tuned go through the instance's tuning; an instance without items takes over that of tuned ones.

        Args:
            folder: as ``export`` writes it.
            rebuild: train the index anew at the end where that is due.
            lock_timeout: seconds to wait for another writer.

        Raises:
            InvalidExport, StampMismatch: before anything is done, or (a file turns out to be cut off) when what lies
                before it is committed.
            InstanceLocked, InstanceDamaged, StorageFull, StorageUnwritable
        """
        from imgsearch.transfer.importing import check_stamp, import_items, read_export, read_tuning

        check_stamp(folder, self._portable_stamp())  # before it waits for the lock
        with self._writing(lock_timeout) as engine:
            check_stamp(folder, self._portable_stamp())
            tuning = read_tuning(folder, self.model.shape_dimension)
            lines = read_export(folder, self.kind, self.model.dimension)
            yield from import_items(engine, lines, tuning)
            if rebuild and engine.is_index_due():
                engine.refresh()

    # Reading

    def export(self, folder: Path) -> Iterator[Key]:
        """Write all items with their features to files that any program can read; other writers may go on meanwhile.

        Args:
            folder: missing or empty.

        Yields:
            The key of each, when it is written; all are whole on the disk at the end.

        Raises:
            InstanceExists: the folder holds something.
            InstanceDamaged, StorageFull, StorageUnwritable
        """
        from imgsearch.storage.engine import Engine
        from imgsearch.storage.sqlite.database import storage_errors
        from imgsearch.transfer.exporting import export

        # A connection of its own, so that the caller may use this instance between two items.
        with closing(Engine.open(self.folder)) as engine, storage_errors(self.folder), engine.store.reading():
            self._refresh(engine.store)
            yield from export(engine.store, folder, self._portable_stamp())

    def _portable_stamp(self) -> dict[str, Any]:
        return {"kind": str(self.kind), **self.model.stamp()}

    @contextmanager
    def searching(self, *, workers: int | None = 1, isolated: bool = True) -> Iterator[Searcher]:
        """For one search or many: the network is loaded once.

        Args:
            workers: query pictures under way at once in ``by_pictures``; None: three per core, which gives the most
                answers per second; 1 gives the quickest single answer.
            isolated: decode query pictures in a process of its own, so that one that breaks its decoder costs its own
                search only. Without, a first answer comes some 50 ms sooner.
        """
        from imgsearch.search.searcher import Searcher

        self._refresh(self._engine.store)
        with self._pipeline(workers=workers, isolated=isolated) as pipeline:
            yield Searcher(self, self._engine, pipeline, self._made_by)

    @cached_property
    def _text_encoder(self) -> TextEncoder:
        from imgsearch.vision.textual import TextEncoder

        return TextEncoder(self._converted)

    def embed_text(self, text: str) -> npt.NDArray[np.float32]:
        """The feature of a text, comparable with those of pictures; shape (dimension,), L2-normalised.

        Raises:
            UsageError: the instance's model has no text side, or there is no text.
            InvalidModel, StampMismatch
        """
        if self.model.text_curve is None:
            raise UsageError(
                f"{self.folder} was made with the model {self.model.name}, which has no text side: "
                "'imgsearch models' lists models that have one"
            )
        if not text.strip():
            raise UsageError("the text to search with is empty")
        feature, is_cut = self._text_encoder(text)
        if is_cut:
            self._announce(f"The text is too long for {self.model.name}: only its beginning counts")
        return feature

    def item(self, key: Key) -> Item:
        """One stored item.

        Raises:
            ItemNotFound
        """
        item = self._engine.store.item(key)
        if item is None:
            raise ItemNotFound(f"there is no picture {key.pic_name!r} of product {key.product_id!r} in {self.folder}")
        return item

    def count(self) -> int:
        """How many items are stored."""
        return self._engine.store.count()

    def has_item(self, key: Key) -> bool:
        """Whether an item is stored under that key."""
        return self._engine.store.item(key) is not None

    def analyse(
        self, pictures: Iterable[tuple[PictureSource, PictureOptions]], *, workers: int | None = None
    ) -> Iterator[Extracted | InputError]:
        """What ``add`` would find in each picture: its region, its category, its feature. Nothing is stored.

        Args:
            pictures: each with its CategoryId, Crop and Region; read no further ahead than needed.
            workers: pictures under way at once; by default three per core.

        Yields:
            In the order of the pictures, what was found in one, or why it cannot be used.

        Raises:
            InvalidModel, StampMismatch
        """
        from imgsearch.vision.analysis import analysed

        with self._pipeline(workers=workers) as pipeline:
            yield from analysed(pipeline, pictures)

    def dimensions(self, picture: PictureSource) -> tuple[int, int]:
        """Width and height of the upright picture in pixels, without decoding it.

        Raises:
            PictureError, UnreadableSource
        """
        from imgsearch.vision.picture import OpenPicture

        opened = OpenPicture(picture.read(self.limits.max_bytes).data, self.limits)
        return opened.width, opened.height

    def thumbnail(self, picture: PictureSource, side: int) -> bytes:
        """A small JPEG of a picture where its owner keeps it, made in memory for showing it; nothing is stored.

        Raises:
            PictureError, UnreadableSource
        """
        from imgsearch.vision.thumbnail import thumbnail

        return thumbnail(picture, side, self.limits)

    def info(self) -> InstanceInfo:
        """Facts about the instance."""
        from imgsearch.jobs.indexing import devices_of
        from imgsearch.storage.filesystem import disk_bytes
        from imgsearch.storage.successor import home
        from imgsearch.transfer.file_format import tuned_stamp

        store = self._engine.store
        with store.reading():
            self._refresh(store)
            counts = store.counts()
            generation = store.generation()
            return InstanceInfo(
                folder=self.folder,
                kind=self.kind,
                region_id=self.region_id,
                created=self.created,
                items=sum(counts.values()),
                products=store.count_products(),
                categories=counts,
                limits=self.limits,
                stamp=tuned_stamp(self.model.stamp(), store.tuning()),
                needs_reindex=self.needs_reindex,
                reindexed=self.count_reindexed(),
                devices=devices_of(store),
                generation=generation,
                unindexed=store.count_newer(generation.max_id if generation else 0),
                disk_bytes=disk_bytes(self.folder) + disk_bytes(home(self.folder)),
            )


def _default_workers(device: Device) -> int:
    """Pictures under way at once where nobody says how many."""
    from imgsearch.vision.runtime import available_cores

    cores = available_cores()
    return min(BATCHED_WORKERS_PER_CORE * cores, MAX_BATCHED_WORKERS) if device.is_torch else WORKERS_PER_CORE * cores


def _check_free(folder: Path) -> None:
    """Refuse a folder in which anything lies but what a killed ``create`` may have left.

    Raises:
        InstanceExists
    """
    from imgsearch.storage.engine import Engine

    if Engine.exists(folder):
        raise InstanceExists(f"there is an instance in {folder} already")
    if folder.exists() and not (folder.is_dir() and all(Engine.is_leftover(path) for path in folder.iterdir())):
        raise InstanceExists(f"{folder} is not an empty folder: name another one for the instance")
