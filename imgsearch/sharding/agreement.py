"""What the shards of one instance must have in common, and the order in which they must be given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import StampMismatch, UsageError
from imgsearch.jobs.reading import misplaced
from imgsearch.shards import MAX_SHARDS, Shard, shard_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from imgsearch.opened import Opened

__all__ = ["check_agreement", "check_folders"]

SAMPLE: Final = 1_000
"""Items of each shard that are looked at when it is opened: folders in a wrong order have hundreds of wrong ones."""


def check_folders(folders: Sequence[Path]) -> None:
    """Refuse folders that cannot be the shards of one instance.

    Raises:
        UsageError
    """
    if not 2 <= len(folders) <= MAX_SHARDS:  # a single one may be one of several, which nobody could tell
        raise UsageError(f"{len(folders)} shards were given; there are 2 to {MAX_SHARDS:,}: give all of an instance")
    known: dict[Path, Path] = {}
    for folder in folders:
        other = known.setdefault(folder.resolve(), folder)
        if other is not folder:
            raise UsageError(f"{folder} is given twice: each shard has a folder of its own")


def check_agreement(shards: Sequence[Opened]) -> None:
    """Refuse shards whose answers could not be merged, or that are given in another order.

    Args:
        shards: open, in order.

    Raises:
        StampMismatch: kind, model, tuning, limits or OSS region differ.
        UsageError: items are in the wrong shard.
        InstanceDamaged
    """
    first, *others = shards
    wanted = _facts(first)
    for other in others:
        for name, value in _facts(other).items():
            if value != wanted[name]:
                raise StampMismatch(
                    f"the shards {first.folder} and {other.folder} differ in their {name} "
                    f"({wanted[name]} and {value}): shards of one instance are made, tuned and reindexed alike"
                )
    for index, shard in enumerate(shards):
        key = next(misplaced(shard, Shard(index, len(shards)), at_most=SAMPLE), None)
        if key is not None:
            count = len(shards)
            raise UsageError(
                f"{shard.folder} is given as shard {index}/{count}, but its product {key.product_id!r} is of shard "
                f"{shard_of(key.product_id, count)}: give all shards, in their order; "
                f"'imgsearch check --shard {index}/{count}' lists what is in the wrong one"
            )


def _facts(opened: Opened) -> dict[str, Any]:
    with opened.reading() as engine:
        tuning = engine.store.tuning()
        model = engine.store.made_by()
    return {
        "kind": str(opened.kind),
        "model": model,
        "tuning": None if tuning is None else tuning.name,
        "limits": opened.limits.as_dict(),
        "OSS region": opened.region_id,
    }
