"""Facts about several shards, as those of one instance."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from imgsearch.jobs.reading import IndexState
from imgsearch.sharding.generation import MergedGeneration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from imgsearch.jobs.reading import InstanceInfo

__all__ = ["merged_info", "merged_state"]


def merged_info(folder: Path, shards: Sequence[InstanceInfo]) -> InstanceInfo:
    """The facts of all shards; what they agree in is that of the first."""
    categories: Counter[int] = Counter()
    for one in shards:
        categories.update(one.categories)
    reindexed = [one.reindexed for one in shards if one.reindexed is not None]
    return replace(
        shards[0],
        folder=folder,
        created=min(one.created for one in shards),
        items=sum(one.items for one in shards),
        products=sum(one.products for one in shards),
        categories=dict(sorted(categories.items())),
        needs_reindex=any(one.needs_reindex for one in shards),
        reindexed=sum(reindexed) if reindexed else None,
        devices=sorted({device for one in shards for device in one.devices}),
        generation=MergedGeneration.of([one.generation for one in shards]),
        unindexed=sum(one.unindexed for one in shards),
        disk_bytes=sum(one.disk_bytes for one in shards),
        storage={},  # each shard tells its own
    )


def merged_state(shards: Sequence[IndexState]) -> IndexState:
    """How far the indexes of all shards follow their items."""
    return IndexState(
        items=sum(one.items for one in shards),
        unindexed=sum(one.unindexed for one in shards),
        generation=sum(one.generation for one in shards),
    )
