"""The candidates of a search among several shards: those of each shard, selected as if it were alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.search.candidates import Selection, Snapshot
from imgsearch.sharding.ids import global_ids
from imgsearch.sharding.storage import MergedStorage

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.search.candidates import Candidates
    from imgsearch.storage.port import Storage

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]

__all__ = ["MergedSnapshot"]


class MergedSnapshot(Snapshot):
    """One snapshot of each shard; ranking goes over the candidates of all, so it is that of one instance.

    Args:
        storage: inside the ``reading`` block of its truth.
    """

    def __init__(self, storage: Storage) -> None:
        assert isinstance(storage, MergedStorage)
        super().__init__(storage)
        self._shards: list[tuple[Storage, Snapshot]] = []
        for part in storage.parts:
            with part.errors():
                self._shards.append((part, Snapshot(part)))

    def _select(self, categories: tuple[int, ...], condition: Condition) -> Selection:
        found = among = 0
        for part, snapshot in self._shards:
            with part.errors():
                selection = snapshot.selection(categories, condition)
            found, among = found + selection.found, among + selection.among
        return Selection(categories, condition, self._both(categories, condition), found, among)

    def candidates(self, queries: Sequence[tuple[Feature, Selection]], size: int) -> list[Candidates]:
        """Candidates for each query: ``size`` of each shard, as all of the nearest may lie in one."""
        found = []
        for part, snapshot in self._shards:
            with part.errors():
                asked = [
                    (feature, snapshot.selection(selection.categories, selection.filter))
                    for feature, selection in queries
                ]
                found.append([(part, one) for one in snapshot.candidates(asked, size)])
        return [_OfAllShards(some) for some in zip(*found, strict=True)]


class _OfAllShards:
    """The candidates of several shards for one query."""

    read: Final = None

    def __init__(self, shards: Sequence[tuple[Storage, Candidates]]) -> None:
        self._shards = shards

    def best(self, size: int) -> Ids:
        """Ids of at least the ``size`` nearest items among all shards."""
        found = []
        for shard, (part, candidates) in enumerate(self._shards):
            with part.errors():
                found.append(global_ids(shard, candidates.best(size)))
        return np.concatenate(found)
