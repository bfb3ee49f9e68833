"""The storages of several shards as one, for reading."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final, NoReturn

from imgsearch.sharding.generation import MergedGeneration, MergedIndex
from imgsearch.sharding.read_only import refuse_writing
from imgsearch.sharding.truth import MergedTruth

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from imgsearch.storage.port import Generation, Storage

__all__ = ["MergedStorage"]


class MergedStorage:
    """Truth and indexes of several shards; see ``storage.port.Storage``.

    Args:
        parts: the shards, in order, lent for reading; closed by whoever has opened them.
        folder: named in errors.
    """

    is_shared: Final = False
    is_replaced: Final = False
    """Whoever lends the shards checks it."""

    def __init__(self, parts: Sequence[Storage], folder: Path) -> None:
        self.parts = parts
        self.folder = folder
        self.store = MergedTruth(parts, folder)

    def close(self) -> None:
        """Nothing: the shards are lent."""

    def errors(self) -> AbstractContextManager[None]:
        """Nothing: each question to a shard translates its errors, and so names the right folder."""
        return nullcontext()

    def about(self) -> dict[str, str | int]:
        """Nothing of all shards together."""
        return {}

    def prepare(self) -> None:
        """Start loading what index searches need, in all shards."""
        for part in self.parts:
            part.prepare()

    def index(self, generation: Generation) -> MergedIndex:
        """The indexes of the present snapshots."""
        assert isinstance(generation, MergedGeneration)
        return MergedIndex(self.parts, generation)

    def _refused(self, *_given: object) -> NoReturn:
        refuse_writing(self.folder)

    committing = _refused
    is_index_due = _refused
    count_to_index = _refused
    refresh = _refused
    rebuild = _refused
    retune = _refused
    drop_index_if_empty = _refused
