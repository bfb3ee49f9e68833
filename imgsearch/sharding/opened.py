"""Open shards as one open instance: what ``Opened`` is to one folder."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from imgsearch.opened import Opened
from imgsearch.search.ranking import Ranker
from imgsearch.sharding.candidates import MergedSnapshot
from imgsearch.sharding.storage import MergedStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from imgsearch.storage.port import Storage

__all__ = ["ShardedOpened"]


class ShardedOpened(Opened):
    """Several shards, open for reading; thread-safe.

    Args:
        folder: describes them in messages; it is no folder.
        shards: open, in order; closed with this.
        cache: of converted models.
        announce: called with a line if a model must be converted first.
    """

    def __init__(self, folder: Path, shards: Sequence[Opened], *, cache: Path, announce: Callable[[str], None]) -> None:
        self.shards: Final = tuple(shards)
        """In their order, each by itself."""
        super().__init__(
            folder, MergedStorage([shard.engine for shard in shards], folder), cache=cache, announce=announce
        )

    def close(self) -> None:
        """Release open resources, those of all shards included."""
        with ExitStack() as stack:
            for shard in self.shards:
                stack.callback(shard.close)
            stack.callback(super().close)

    @contextmanager
    def reading(self) -> Iterator[Storage]:
        """Provide the storages of all shards for exclusive use."""
        with ExitStack() as stack:
            yield MergedStorage([stack.enter_context(shard.reading()) for shard in self.shards], self.folder)

    @contextmanager
    def writing(self, lock_timeout: float, *, alone: bool = False) -> Iterator[Storage]:  # noqa: ARG002
        """Refused: each shard has a lock, and commits, of its own.

        Raises:
            UsageError
        """
        with self.engine.committing():  # which is refused
            yield self.engine

    def ranker(self, storage: Storage) -> Ranker:
        """What answers queries on all shards."""
        return Ranker(storage, MergedSnapshot)
