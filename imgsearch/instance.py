"""The public Python API: one instance, opened, written and searched. ``docs/python.md`` shows how.

An instance is a folder. Its kind, model and limits are fixed when it is made. Reading needs no lock; each writing
method takes the writer lock for as long as it runs. All methods can be called from several threads.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from imgsearch.instance_writing import InstanceWriting
from imgsearch.locations import cache_folder
from imgsearch.opened import Opened, absent, stored_item
from imgsearch.pictures import as_picture, as_pictures

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    import numpy.typing as npt

    from imgsearch.errors import InputError
    from imgsearch.jobs.duplicates import Duplicates
    from imgsearch.jobs.reading import IndexState, InstanceInfo, Listing
    from imgsearch.pictures import PictureLike
    from imgsearch.search.searcher import Searcher
    from imgsearch.shards import Shard
    from imgsearch.types import Extracted, Item
    from imgsearch.values import Key, PictureOptions
    from imgsearch.vision.models import ModelRecord

    StrPath = str | os.PathLike[str]

__all__ = ["Instance"]


class Instance(InstanceWriting):
    """One instance, open for searching; writing methods lock it while they run.

    Use as a context manager, or call ``close``. Made by ``open``, not by calling the class.
    """

    opened_type: ClassVar[type[Opened]] = Opened

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self.folder = opened.folder
        self.kind = opened.kind
        self.limits = opened.limits
        self.region_id = opened.region_id
        self.created = opened.created

    # Opening

    @classmethod
    def open(
        cls,
        folder: StrPath,
        *,
        cache: StrPath | None = None,
        announce: Callable[[str], None] = lambda _message: None,
    ) -> Self:
        """Open an instance; ``cache`` and ``announce`` as for ``create``.

        Args:
            folder: of the instance, or its address (``postgresql://…``).
            cache: of converted models; by default the user's.
            announce: called with a line if a model must be converted first.

        Raises:
            InstanceNotFound, InstanceDamaged, NewerFormat, RemoteUnavailable
        """
        from imgsearch.storage.backends import backend_of, located

        path = located(folder)
        cache = cache_folder() if cache is None else Path(cache)
        engine = backend_of(path).open(path)
        try:
            return cls(cls.opened_type(path, engine, cache=cache, announce=announce))
        except BaseException:
            engine.close()
            raise

    def close(self) -> None:
        """Release what is open."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # Searching and reading

    @contextmanager
    def searching(self, *, workers: int | None = 1, isolated: bool = True) -> Iterator[Searcher]:
        """For one search or many, from any number of threads: the network is loaded once.

        Args:
            workers: query pictures under way at once; None: three per core, which gives the most answers per second; 1
                gives the quickest single answer.
            isolated: decode query pictures in a process of its own, so that one that breaks its decoder costs its own
                search only. Without, a first answer comes some 50 ms sooner (the command line starts it ahead).
        """
        from imgsearch.search.searcher import Searcher

        with self._opened.reading() as engine:
            self._opened.refresh(engine.store)
        with self._opened.pipeline(workers=workers, isolated=isolated) as pipeline:
            yield Searcher(self._opened, pipeline)

    def embed(self, pictures: Iterable[PictureLike], *, crop: bool = True) -> npt.NDArray[np.float32]:
        """The features of pictures, as the networks make them: shape (n, dimension), L2-normalised.

        Args:
            pictures: several; each as for ``add``.
            crop: of the subject that is found in each; False: of the whole picture.

        Raises:
            InputError: of the first picture that cannot be used, which is named by its place.
            UsageError, InvalidModel, StampMismatch
        """
        import numpy as np

        from imgsearch.vision.analysis import embedded

        pipeline = self._opened.shared_pipeline()
        features = embedded(pipeline, as_pictures(pictures, self.limits.max_bytes), crop=crop)
        return np.array(features, np.float32).reshape(len(features), self.model.dimension)

    def embed_text(self, text: str) -> npt.NDArray[np.float32]:
        """The feature of a text, comparable with those of pictures; shape (dimension,), L2-normalised.

        Raises:
            UsageError: the instance's model has no text side, or there is no text.
            InvalidModel, StampMismatch
        """
        return self._opened.embed_text(text)

    def analyse(
        self, pictures: Iterable[tuple[PictureLike, PictureOptions]], *, workers: int | None = None
    ) -> Iterator[Extracted | InputError]:
        """What ``add`` would find in each picture (region, category, feature), or why it cannot be used; as a stream.

        Args:
            pictures: each with its CategoryId, Crop and Region; read no further ahead than needed.
            workers: pictures under way at once; by default three per core.

        Raises:
            InvalidModel, StampMismatch
        """
        from imgsearch.vision.analysis import analysed

        sources = ((as_picture(picture, self.limits.max_bytes), options) for picture, options in pictures)
        with self._opened.pipeline(workers=workers) as pipeline:
            yield from analysed(pipeline, sources)

    def items(
        self,
        filter: str | None = None,  # noqa: A002  # its name in SearchOptions
        *,
        category: int | str | None = None,
    ) -> Iterator[Item]:
        """The stored items in the order they were added, as they are when the first is asked for; others may write.

        Args:
            filter: an expression over attributes.
            category: of these items only.

        Raises:
            InvalidFilter, InvalidCategory, InstanceDamaged
        """
        from imgsearch.jobs.reading import items, selection

        return items(self._opened, selection(filter, category))

    def listing(
        self,
        filter: str | None = None,  # noqa: A002  # its name in SearchOptions
        *,
        category: int | str | None = None,
        product_id: str | None = None,
        start: int = 0,
        num: int | None = None,
    ) -> AbstractContextManager[Listing]:
        """A page of the stored items, in the order of (ProductId, PicName); memory does not grow with their number.

        Use as a context manager: its items are those of one moment, and are read while they are iterated.

        Args:
            filter: an expression over attributes.
            category: of these items only.
            product_id: of these items only.
            start: how many to skip.
            num: the maximum number; None: all.

        Raises:
            InvalidFilter, InvalidCategory, InvalidValue, InvalidPaging, InstanceDamaged
        """
        from imgsearch.jobs.reading import listing, selection

        return listing(self._opened, selection(filter, category, product_id), start=start, num=num)

    def duplicates(
        self,
        filter: str | None = None,  # noqa: A002  # its name in SearchOptions
        *,
        category: int | str | None = None,
        product_id: str | None = None,
        level: str = "same",
        min_score: float = 0.9,
        products: str = "any",
    ) -> AbstractContextManager[Duplicates]:
        """Groups of pictures that show the same, among the stored items; no picture is read.

        Use as a context manager; the groups are read while they are iterated.

        Args:
            filter: an expression over attributes; only these items are compared.
            category: likewise.
            product_id: likewise.
            level: ``same``, or ``similar`` for groups of pictures that merely resemble each other, too.
            min_score: the least Score of ``similar`` pictures.
            products: ``any``; ``within``: each product by itself; ``across``: groups of several products only.

        Raises:
            InvalidFilter, InvalidCategory, InvalidValue, InstanceDamaged
        """
        from imgsearch.jobs.duplicates import duplicates
        from imgsearch.jobs.reading import selection

        condition = selection(filter, category, product_id)
        return duplicates(self._opened, condition, level=level, min_score=min_score, products=products)

    def item(self, key: Key) -> Item:
        """One stored item.

        Raises:
            ItemNotFound
        """
        item = self.find(key)
        if item is None:
            raise absent(key, self.folder)
        return item

    def find(self, key: Key) -> Item | None:
        """One stored item; None if there is none under that key."""
        with self._opened.reading() as engine:
            return stored_item(engine.store, key)

    def has_item(self, key: Key) -> bool:
        """Whether an item is stored under that key."""
        return self.find(key) is not None

    def count(self) -> int:
        """How many items are stored; ``len`` tells it too."""
        with self._opened.reading() as engine:
            return engine.store.count()

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        """True, also without items."""
        return True

    def misplaced(self, shard: Shard) -> Iterator[Key]:
        """The keys of the items whose products are not of a shard, in order: none, if the instance holds that shard.

        Raises:
            InstanceDamaged
        """
        from imgsearch.jobs.reading import misplaced

        return misplaced(self._opened, shard)

    def info(self) -> InstanceInfo:
        """Facts about the instance."""
        from imgsearch.jobs.reading import info

        return info(self._opened)

    def index_state(self) -> IndexState:
        """How far the index follows the items; cheaper than ``info``."""
        from imgsearch.jobs.reading import index_state

        return index_state(self._opened)

    def dimensions(self, picture: PictureLike) -> tuple[int, int]:
        """Width and height of the upright picture in pixels, without decoding it.

        Raises:
            PictureError, UnreadableSource
        """
        from imgsearch.vision.thumbnail import dimensions

        return dimensions(as_picture(picture, self.limits.max_bytes), self.limits)

    def thumbnail(self, picture: PictureLike, side: int) -> bytes:
        """A small JPEG of a picture, made in memory for showing it; nothing is stored.

        Raises:
            PictureError, UnreadableSource
        """
        from imgsearch.vision.thumbnail import thumbnail

        return thumbnail(as_picture(picture, self.limits.max_bytes), side, self.limits)

    # The model

    @property
    def model(self) -> ModelRecord:
        """What makes its features."""
        return self._opened.model

    @property
    def needs_reindex(self) -> bool:
        """Whether its features are of an older version than this release makes; all goes on with these as they are."""
        return self._opened.needs_reindex

    @property
    def model_is_at_hand(self) -> bool:
        """Whether the model is in the cache, ready to be loaded; if not, the first picture takes longer."""
        return self._opened.model_is_at_hand

    def prepare_networks(self) -> None:
        """Like ``prepare``, for the model of this instance.

        Raises:
            InvalidModel, StampMismatch, StorageFull, StorageUnwritable
        """
        from imgsearch.vision.preparation import prepare

        prepare(self._opened.converted.record, self._opened.cache, self._opened.announce)

    def check_model(self, model: str, weights: StrPath | None = None) -> None:
        """Refuse to go on with another model than the instance's.

        Raises:
            StampMismatch
        """
        self._opened.check_model(model, None if weights is None else Path(weights))
