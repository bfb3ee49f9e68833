"""Several instances as one: ``Instance`` over shards. ``docs/sharding.md`` shows how."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Self

from imgsearch.errors import UsageError
from imgsearch.instance import Instance
from imgsearch.jobs.deleting import Deletion, delete_matching
from imgsearch.locations import cache_folder
from imgsearch.sharding.agreement import check_agreement, check_folders
from imgsearch.sharding.facts import merged_info, merged_state
from imgsearch.sharding.opened import ShardedOpened
from imgsearch.sharding.read_only import refuse_writing
from imgsearch.sharding.writer import ShardedWriter
from imgsearch.shards import shard_of
from imgsearch.storage.backends import backend_of
from imgsearch.values import Key, several_paths
from imgsearch.vision.devices import CPU

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imgsearch.filters.tree import Condition
    from imgsearch.jobs.reading import IndexState, InstanceInfo
    from imgsearch.jobs.tuning import TuningReport
    from imgsearch.types import AddPicture, Outcome

    StrPath = str | os.PathLike[str]

__all__ = ["ShardedInstance"]

SELECTIONS: Final = 256
"""Selections of ``delete_stream`` that are deleted together."""


class ShardedInstance(Instance):
    """Instances that hold a shard of the products each; all that reads answers as one instance with all items would.

    Additions, deletions and updates go to the shards. What works on a whole instance (``apply``, ``sync``, ``rebuild``,
    ``tune``, ``reindex``, ``import_items``) is refused: run it on each shard.

    Made by ``open_shards``, not by calling the class.
    """

    merged_type: ClassVar[type[ShardedOpened]] = ShardedOpened

    def __init__(self, opened: ShardedOpened) -> None:
        super().__init__(opened)
        self._shards = opened.shards
        self.shards: Final = tuple(map(Instance, opened.shards))
        """In their order, each by itself."""

    @classmethod
    def open_shards(
        cls,
        folders: Iterable[StrPath],
        *,
        cache: StrPath | None = None,
        announce: Callable[[str], None] = lambda _message: None,
    ) -> Self:
        """Open instances as the shards of one.

        Args:
            folders: of all shards, in their order: the first holds the products of shard 0.
            cache: of converted models, as for ``open``.
            announce: called with a line if a model must be converted first.

        Raises:
            UsageError: the folders are not the shards of one instance, or not in their order.
            StampMismatch: their settings differ.
            InstanceNotFound, InstanceDamaged, NewerFormat
        """
        places = several_paths(folders)
        check_folders(places)
        cache = cache_folder() if cache is None else Path(cache)
        with ExitStack() as stack:
            shards = []
            for place in places:
                engine = backend_of(place).open(place)
                stack.callback(engine.close)
                shards.append(cls.opened_type(place, engine, cache=cache, announce=announce))
            check_agreement(shards)
            opened = cls.merged_type(_described(places), shards, cache=cache, announce=announce)
            stack.pop_all()
        return cls(opened)

    @classmethod
    def open(
        cls,
        folder: StrPath,
        *,
        cache: StrPath | None = None,  # noqa: ARG003  # as of one instance
        announce: Callable[[str], None] = lambda _message: None,  # noqa: ARG003
    ) -> Self:
        """Refused: shards are several folders.

        Raises:
            UsageError
        """
        raise UsageError(f"{folder} is one folder: open all shards with open_shards, or one instance with Instance")

    def _of(self, product_id: str) -> Instance:
        Key(product_id, "any")  # refuses what no product can be called
        return self.shards[shard_of(product_id, len(self.shards))]

    # Facts

    def info(self) -> InstanceInfo:
        """Facts about all shards together."""
        return merged_info(self.folder, [shard.info() for shard in self.shards])

    def index_state(self) -> IndexState:
        """How far the indexes follow the items."""
        return merged_state([shard.index_state() for shard in self.shards])

    # Writing

    def indexing(self, *, workers: int | None = None, device: str = CPU, lock_timeout: float = 30.0) -> ShardedWriter:
        """A writer for continuous use, to all shards; networks are loaded once.

        Raises:
            UsageError: ``workers`` or another device: these are for one instance.
        """
        if workers is not None or device != CPU:
            raise UsageError("shards share their networks: neither workers nor a device can be given")
        return ShardedWriter(self._opened, self._shards, lock_timeout=lock_timeout)

    def tune(self, *, lock_timeout: float = 0.0) -> TuningReport:  # noqa: ARG002  # as of one instance
        """Refused, before anything is learned: a tuning is of one instance.

        Raises:
            UsageError
        """
        refuse_writing(self.folder)

    def _applied(self, operation: AddPicture, lock_timeout: float) -> Outcome:
        with self.indexing(lock_timeout=lock_timeout) as writer:
            return writer.submit(operation).result()

    def delete(
        self, product_id: str, pic_name: str | None = None, *, dry_run: bool = False, lock_timeout: float = 0.0
    ) -> Deletion:
        """Delete one picture of a product, or all of them, in its shard."""
        return self._of(product_id).delete(product_id, pic_name, dry_run=dry_run, lock_timeout=lock_timeout)

    def _delete(self, condition: Condition, dry_run: bool, lock_timeout: float) -> Deletion:
        """Delete all items that meet a condition, in one commit of each shard."""
        done = [delete_matching(shard, condition, dry_run=dry_run, lock_timeout=lock_timeout) for shard in self._shards]
        return Deletion(sorted(key for one in done for key in one.keys))

    def delete_stream(
        self, selections: Iterable[tuple[str, str | None]], *, dry_run: bool = False, lock_timeout: float = 0.0
    ) -> Iterator[Deletion]:
        """Delete many products and pictures, each in its shard; yields what each deleted, in order."""
        iterator = iter(selections)
        while some := list(islice(iterator, SELECTIONS)):
            places = [shard_of(product_id, len(self.shards)) for product_id, _ in some]
            streams = {
                place: shard.delete_stream(
                    [one for one, its in zip(some, places, strict=True) if its == place],
                    dry_run=dry_run,
                    lock_timeout=lock_timeout,
                )
                for place, shard in enumerate(self.shards)
                if place in places
            }
            done = {place: list(stream) for place, stream in streams.items()}
            for place in places:
                yield done[place].pop(0)

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
        """Change attributes or category of stored items, in one commit of each shard; else as ``Instance.update``."""
        shards = self.shards if product_id is None else (self._of(product_id),)
        return [
            key
            for shard in shards
            for key in shard.update(
                filter,
                product_id=product_id,
                pic_name=pic_name,
                attributes=attributes,
                category=category,
                dry_run=dry_run,
                lock_timeout=lock_timeout,
            )
        ]


def _described(folders: Sequence[Path]) -> Path:
    """What messages call the shards."""
    others = len(folders) - 1
    return Path(f"{folders[0]} and {others} more shard{'s' if others > 1 else ''}")
