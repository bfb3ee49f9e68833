"""Ids of items among several shards: the number of the shard, then the id in it, so they ascend shard by shard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import numpy.typing as npt

    Ids = npt.NDArray[np.int64]

__all__ = ["BITS", "MASK", "by_shard", "global_id", "global_ids", "of_shard", "shard_and_id"]

BITS: Final = 47
"""Of the id in a shard: 140 trillion; the rest is enough for 65,536 shards."""
MASK: Final = (1 << BITS) - 1


def global_id(shard: int, item_id: int) -> int:
    """The id among all shards of an item with that id in one of them."""
    return shard << BITS | item_id


def global_ids(shard: int, ids: Ids) -> Ids:
    """``global_id`` of many items of one shard; same shape."""
    return ids + (shard << BITS)


def shard_and_id(item_id: int) -> tuple[int, int]:
    """The shard of an item, and its id there."""
    return item_id >> BITS, item_id & MASK


def by_shard(ids: Iterable[int]) -> dict[int, list[int]]:
    """The ids in each shard that has any, in the order given."""
    found: dict[int, list[int]] = {}
    for item_id in ids:
        shard, own = shard_and_id(item_id)
        found.setdefault(shard, []).append(own)
    return found


def of_shard(shard: int, ids: Ids) -> Ids:
    """The ids in one shard of those that are there; shape (n,)."""
    own: Ids = ids[ids >> BITS == shard] & MASK
    return own
