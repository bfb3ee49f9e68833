"""The indexes of several shards, told and asked as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from imgsearch.listed_ids import ListedIds
from imgsearch.sharding.ids import global_ids, of_shard

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from imgsearch.storage.port import Generation, Index, Storage

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]

__all__ = ["MergedGeneration", "MergedIndex"]


@dataclass(frozen=True, slots=True)
class MergedGeneration:
    """What is told of the indexes of several shards; see ``storage.port.Generation``."""

    parts: tuple[Generation | None, ...]
    """Of each shard; None where it has none, and searches scan all of its items."""
    number: int
    """The sum of the shards' numbers: it rises with each of them."""
    structure: str
    """Each different one, joined with ``, ``."""
    items: int
    is_exact: bool
    """Whether all of them are."""
    recall: float | None
    """The least."""
    nprobe: int | None
    """The most."""
    created: int
    """Of the oldest one."""
    bytes: int
    file_name: str = ""
    """There is no single one."""

    @classmethod
    def of(cls, parts: Sequence[Generation | None]) -> Self | None:
        """Of the indexes of shards; None if there is none."""
        found = [one for one in parts if one is not None]
        if not found:
            return None
        return cls(
            parts=tuple(parts),
            number=sum(one.number for one in found),
            structure=", ".join(sorted({one.structure for one in found})),
            items=sum(one.items for one in found),
            is_exact=all(one.is_exact for one in found),
            recall=min((one.recall for one in found if one.recall is not None), default=None),
            nprobe=max((one.nprobe for one in found if one.nprobe is not None), default=None),
            created=min(one.created for one in found),
            bytes=sum(one.bytes for one in found),
        )


class MergedIndex:
    """Searches the indexes of several shards; see ``storage.port.Index``.

    Args:
        storages: the shards.
        generation: theirs, of the present snapshot.
    """

    is_best_first: Final = False

    def __init__(self, storages: Sequence[Storage], generation: MergedGeneration) -> None:
        self._indexes: list[tuple[int, Index]] = [
            (shard, storage.index(part))
            for shard, (storage, part) in enumerate(zip(storages, generation.parts, strict=True))
            if part is not None
        ]

    def shortlist(
        self,
        query: Feature,
        size: int,
        *,
        categories: tuple[int, ...] | None = None,
        only: ListedIds | None = None,
        without: Ids | None = None,
    ) -> Ids:
        """Ids of at least the ``size`` nearest items of each shard."""
        found = [
            global_ids(
                shard,
                index.shortlist(
                    query,
                    size,
                    categories=categories,
                    only=None if only is None else ListedIds(of_shard(shard, only.ids())),
                    without=None if without is None else of_shard(shard, without),
                ),
            )
            for shard, index in self._indexes
        ]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def shortlists(
        self, queries: Feature, size: int, categories: Sequence[tuple[int, ...] | None], without: Ids
    ) -> list[Ids]:
        """``shortlist`` for each of many queries."""
        found = [
            [global_ids(shard, ids) for ids in index.shortlists(queries, size, categories, of_shard(shard, without))]
            for shard, index in self._indexes
        ]
        return [np.concatenate([np.zeros(0, np.int64), *some]) for some in zip(*found, strict=True)]
