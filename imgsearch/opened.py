"""An open instance: state shared by the facade and the jobs.

Settings, a pool of connections for reading, the writer's connection and lock, the networks.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import DeviceUnusable, ItemNotFound, StampMismatch, UsageError
from imgsearch.service.categories import Kind
from imgsearch.storage.backends import backend_of
from imgsearch.storage.readers import Readers
from imgsearch.vision.devices import CPU, HINT, MAX_BATCH, Device
from imgsearch.vision.limits import Limits
from imgsearch.vision.models import ModelRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from imgsearch.search.ranking import Ranker
    from imgsearch.storage.port import Storage, Truth
    from imgsearch.types import Item
    from imgsearch.values import Key
    from imgsearch.vision.openvino_export import ConvertedModel
    from imgsearch.vision.pipeline import Pipeline
    from imgsearch.vision.textual import TextEncoder

__all__ = ["SETTINGS", "Opened", "absent", "stored_item"]

WORKERS_PER_CORE: Final = 3
"""One decodes, one waits for the network, one for the GIL or the disk: fewer leave cores idle."""
BATCHED_WORKERS_PER_CORE: Final = 8
"""With a device that takes batches, cores mostly decode, and most workers wait for one of three batches."""
MAX_BATCHED_WORKERS: Final = 2 * MAX_BATCH
"""One batch runs while the next gathers; each worker has a decoding process, so more would waste memory."""

SETTINGS: Final = ("kind", "limits", "region_id", "model", "created")
"""Settings that every instance has."""


def absent(key: Key, folder: Path) -> ItemNotFound:
    """The error for a missing item."""
    return ItemNotFound(f"there is no picture {key.pic_name!r} of product {key.product_id!r} in {folder}")


def no_product(product_id: str, folder: Path) -> ItemNotFound:
    """The error for a missing product."""
    return ItemNotFound(f"there is no product {product_id!r} in {folder}")


def stored_item(store: Truth, key: Key) -> Item | None:
    """The item with a key, however its accents are spelled."""
    return next((item for spelled in key.spellings() if (item := store.item(spelled)) is not None), None)


class Opened:
    """One instance, open for reading; thread-safe.

    Args:
        folder: of the instance.
        engine: open for reading; closed with this.
        cache: of converted models.
        announce: called with a line if a model must be converted first.
    """

    def __init__(self, folder: Path, engine: Storage, *, cache: Path, announce: Callable[[str], None]) -> None:
        self.folder = folder
        self.engine = engine
        """The engine that it was opened with; whoever reads asks ``reading`` for one."""
        self.cache = cache
        self.announce = announce
        self._readers = Readers(engine, self._take_settings)
        self._lock = RLock()
        self.made_by: dict[str, Any] = {}
        """The model of the features, as stored; a reindex changes it."""
        self._take_settings(engine)
        self._kept = ExitStack()
        self._shared: tuple[dict[str, Any], Pipeline] | None = None

    def _take_settings(self, engine: Storage) -> None:
        """Use the settings of this engine: those of another instance, if the folder was replaced."""
        settings = engine.store.settings()
        for name in SETTINGS:
            if name not in settings:
                raise engine.store.damage(f"the setting {name!r}")
        with self._lock:
            self.kind = Kind(settings["kind"])
            self.limits = Limits(**settings["limits"])
            self.region_id: str | None = settings["region_id"]
            self.created: int = settings["created"]
        self._use(settings["model"])

    def close(self) -> None:
        """Release open resources."""
        try:
            with self._lock:
                self._shared = None
                self._kept.close()
        finally:
            self._readers.close()

    def reading(self) -> AbstractContextManager[Storage]:
        """Provide an engine for exclusive use; see ``Readers.reading``."""
        return self._readers.reading()

    @contextmanager
    def writing(self, lock_timeout: float, *, alone: bool = False) -> Iterator[Storage]:
        """Open a connection for writing during the block; hold the writer lock, where one at a time may write.

        Args:
            lock_timeout: seconds to wait for others.
            alone: let nobody else write meanwhile, where several may.

        Raises:
            InstanceLocked, InstanceDamaged, NewerFormat, StorageUnwritable
        """
        with backend_of(self.folder).writer(self.folder, lock_timeout, alone=alone) as engine:
            self.refresh(engine.store)
            yield engine

    def refresh(self, store: Truth) -> None:
        """Update the model after a reindex; all other settings of an instance are fixed."""
        self._use(store.made_by())

    def _use(self, made_by: dict[str, Any]) -> None:
        with self._lock:
            if not self.made_by or made_by != self.made_by:
                self.made_by, self.model = made_by, ModelRecord.from_dict(made_by)
                self._converted: ConvertedModel | None = None
                self._text_encoder: TextEncoder | None = None

    def ranker(self, storage: Storage) -> Ranker:
        """What answers queries on a storage that ``reading`` has given."""
        from imgsearch.search.ranking import Ranker

        return Ranker(storage)

    # Networks

    @property
    def model_is_at_hand(self) -> bool:
        """Whether the model is in the cache, ready to be loaded."""
        from imgsearch.vision.openvino_export import is_converted

        return is_converted(self.model, self.cache)

    def check_model(self, model: str, weights: Path | None) -> None:
        """Raise if a model is not the instance's.

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

    def embed_text(self, text: str) -> npt.NDArray[np.float32]:
        """The feature of a text; see ``Instance.embed_text``."""
        if self.model.text_curve is None:
            raise UsageError(
                f"{self.folder} was made with the model {self.model.name}, which has no text side: "
                "'imgsearch models' lists models that have one"
            )
        if not text.strip():
            raise UsageError("the text to search with is empty")
        with self._lock:
            if self._text_encoder is None:
                from imgsearch.vision.textual import TextEncoder

                self._text_encoder = TextEncoder(self.converted)
        feature, is_cut = self._text_encoder(text)
        if is_cut:
            self.announce(f"The text is too long for {self.model.name}: only its beginning counts")
        return feature

    @property
    def needs_reindex(self) -> bool:
        """Whether the features are of an older version than this release makes."""
        return self.model.is_older

    def convert(self, record: ModelRecord) -> ConvertedModel:
        """The model of a record, converted where the cache does not have it."""
        from imgsearch.vision.openvino_export import prepared_models

        return prepared_models(record, self.cache, self.announce)

    @property
    def converted(self) -> ConvertedModel:
        """The model that makes this instance's features.

        Raises:
            InvalidModel: it cannot be had any more.
            StampMismatch: this release does not make such features.
        """
        with self._lock:
            if self._converted is None:
                self._converted = self._checked_model()
            return self._converted

    def _checked_model(self) -> ConvertedModel:
        if not self.model.can_be_made:
            way_out = "make new ones of the pictures with 'imgsearch add --reindex'"
            raise StampMismatch(
                f"the features in {self.folder} are of version {self.model.feature_version}, which this release does "
                f"not make: {way_out if self.model.is_older else 'install a newer imgsearch'}"
            )
        converted = self.convert(self.model)
        if converted.record.stamp() != self.model.stamp():
            raise StampMismatch(
                f"the features in {self.folder} were made by {self.model.name} in another version of imgsearch: "
                "make a new instance with 'imgsearch init' and add the pictures again"
            )
        return converted

    def usable(self, name: str) -> Device:
        """The device of that name, which works and agrees with the CPU.

        Raises:
            UsageError, DeviceUnusable
        """
        device = Device.parse(name)
        device.check()
        if device.is_torch and self.model.is_folder:
            raise DeviceUnusable(f"models in folders run on the CPU only, {self.model.name} too: {HINT}")
        if device.is_torch:
            from imgsearch.vision.device_parity import check_agreement

            check_agreement(self.converted, device, self.cache, self.announce)
        return device

    @contextmanager
    def pipeline(
        self, *, workers: int | None = None, readers: int = 0, isolated: bool = True, device: str = CPU
    ) -> Iterator[Pipeline]:
        """The way of pictures; the network is loaded when the first picture needs it.

        Args:
            workers: pictures under way at once; None: as many as keep the device busy.
            readers: pictures that are read at once beside these.
            isolated: decode in processes of their own.
            device: where the networks run.
        """
        from imgsearch.vision.pipeline import Pipeline
        from imgsearch.vision.runtime import Network

        parallel = workers != 1
        lock = Lock()
        loaded: list[Network] = []

        def network() -> Network:
            with lock:
                if not loaded:
                    made = Network(self.converted, self.cache, parallel=parallel, announce=self.announce, device=device)
                    loaded.append(made)
            return loaded[0]

        try:
            workers = workers or _default_workers(Device.parse(device))
            with Pipeline(network, self.limits, self.kind, workers, readers, isolated=isolated) as pipeline:
                yield pipeline
        finally:
            for one in loaded:
                one.close()

    def shared_pipeline(self) -> Pipeline:
        """A pipeline for any number of short calls, kept until this is closed.

        Raises:
            UsageError: the instance has been closed.
        """
        with self.reading() as engine:
            self.refresh(engine.store)
        with self._lock:
            # One with the networks of before a reindex stays open beside it, as somebody may be using it.
            if self._shared is None or self._shared[0] != self.made_by:
                self._shared = self.made_by, self._kept.enter_context(self.pipeline())
            return self._shared[1]


def _default_workers(device: Device) -> int:
    """Pictures under way at once where nobody says how many."""
    from imgsearch.vision.runtime import available_cores

    cores = available_cores()
    return min(BATCHED_WORKERS_PER_CORE * cores, MAX_BATCHED_WORKERS) if device.is_torch else WORKERS_PER_CORE * cores
