"""Building pgvector's indexes: an inverted file for each category that holds enough items, others being scanned.

The number of lists that a search has to scan is measured on stored features, against an exact comparison.
"""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.filters.tree import category_condition
from imgsearch.storage.postgres.rows import Generation
from imgsearch.storage.postgres.vector_index import near
from imgsearch.storage.records import FEATURE_TYPE

if TYPE_CHECKING:
    from imgsearch.storage.postgres.partitions import Partitions
    from imgsearch.storage.postgres.store import Store

__all__ = ["FLAT_LIMIT", "build", "is_due", "made_for", "remove_all"]

FLAT_LIMIT: Final = 5_000
"""A category with fewer items is scanned, which takes some milliseconds."""
MAX_LISTS: Final = 32_768
EXTENSION: Final = 2.0
"""Lists are kept until the number of items has grown or shrunk by this factor since they were made."""
TARGETS: Final = {10: 0.99, 500: 0.95}
"""The share of the nearest items, of so many, that a search has to find in the mean."""
QUERIES: Final = 50
SEED: Final = 7
MEMORY: Final = "512MB"
"""Of the server, while it makes an index: it holds a sample of the features."""


def is_due(store: Store, *, flat_limit: int = FLAT_LIMIT) -> bool:
    """Whether a category lacks an index, or has one whose lists no longer fit it."""
    generation = store.generation()
    counts = store.counts()
    if generation is None:
        return bool(counts)
    made = made_for(generation)
    return any(_is_due(items, made.get(category), flat_limit) for category, items in counts.items())


def _is_due(items: int, made: int | None, flat_limit: int) -> bool:
    if made is None:
        return items >= flat_limit
    return items > EXTENSION * made or items * EXTENSION < made


def made_for(generation: Generation) -> dict[int, int]:
    """How many items each category with an index had when its lists were made."""
    lists: dict[str, Any] = json.loads(generation.lists or "{}")
    return {int(category): int(items) for category, (_, items) in lists.items()}


def build(store: Store, *, whole: bool, flat_limit: int = FLAT_LIMIT) -> Generation:
    """Make the indexes that are due and publish them; searches and other writers go on.

    Args:
        store: of the instance, outside of a transaction; the caller holds ``Lock.INDEX``.
        whole: make all anew.
        flat_limit: from how many items on a category gets an index.
    """
    link, partitions = store.link, store.partitions
    for setting, value in (("statement_timeout", "0"), ("maintenance_work_mem", MEMORY)):
        link.run("SELECT set_config(%s, %s, false)", (setting, value))
    old = store.generation()
    made = {} if old is None else made_for(old)
    present = {one.category: one for one in partitions.indexes() if one.is_valid}
    counts = store.counts()
    dimension = _dimension(store)
    number = store.next_number()
    lists: dict[int, tuple[int, int]] = {}
    for category, items in sorted(counts.items()):
        if items < flat_limit:
            continue
        kept = present.get(category)
        if whole or kept is None or category not in made or _is_due(items, made[category], flat_limit):
            wanted = min(MAX_LISTS, max(1, round(math.sqrt(items))))
            partitions.build(category, wanted, dimension, number)
            lists[category] = wanted, items
        else:
            lists[category] = kept.lists, made[category]
    _drop_others(partitions, lists)
    partitions.analyze()
    probes, recalls = _measured(store, dimension, lists) if lists else (None, {})
    generation = Generation(
        number=number,
        structure="pgvector IVFFlat" if lists else "flat",
        items=sum(counts.values()),
        dimension=dimension,
        probes=probes,
        recall=recalls.get(10),
        recall_500=recalls.get(500),
        created=int(time.time()),
        bytes=sum(one.bytes for one in partitions.indexes()),
        lists=json.dumps(lists) if lists else None,
    )
    with store.writing([]):
        store.publish(generation)
    with store.writing():
        store.prune_roots()
    published = store.generation()
    assert published is not None
    return published


def _drop_others(partitions: Partitions, lists: dict[int, tuple[int, int]]) -> None:
    """Delete indexes that newer ones have replaced, of categories that are scanned now, and half-made ones."""
    newest = {one.category: one.name for one in partitions.indexes() if one.is_valid}
    for one in partitions.indexes():
        if one.category not in lists or one.name != newest.get(one.category):
            partitions.drop(one)


def remove_all(store: Store) -> None:
    """Delete all indexes in the transaction that is open; the generation goes too."""
    for one in store.partitions.indexes():
        store.partitions.drop(one, at_once=True)
    store.unpublish()


def _dimension(store: Store) -> int:
    row = store.link.row("SELECT feature FROM features LIMIT 1")
    return 0 if row is None else len(row[0]) // FEATURE_TYPE.itemsize


def _measured(store: Store, dimension: int, lists: dict[int, tuple[int, int]]) -> tuple[int, dict[int, float]]:
    """How many lists a search has to scan, and the share of the nearest items that it then finds, by their number.

    Stored features are searched with, each in its own category, the largest ones most often.
    """
    with store.reading():
        asked = _queries(store, lists)
        exact = {
            size: [store.nearest(query, category_condition((category,)), size) for category, query in asked]
            for size in TARGETS
        }
        most = max(count for count, _ in lists.values())
        probes = max(1, round(math.sqrt(most) / 4))
        while True:
            probes = min(probes, most)
            recalls = {
                size: float(
                    np.mean(
                        [
                            len(np.intersect1d(near(store, query, size, dimension, probes, (category,)), wanted))
                            / max(1, len(wanted))
                            for (category, query), wanted in zip(asked, exact[size], strict=True)
                        ]
                    )
                )
                for size in TARGETS
            }
            if probes == most or all(recalls[size] >= target for size, target in TARGETS.items()):
                return probes, recalls
            probes *= 2


def _queries(store: Store, lists: dict[int, tuple[int, int]]) -> list[tuple[int, np.typing.NDArray[np.float32]]]:
    total = sum(items for _, items in lists.values())
    generator = np.random.default_rng(SEED)
    asked = []
    for category, (_, items) in sorted(lists.items()):
        count = max(5, round(QUERIES * items / total))
        share = min(100.0, 300.0 * count / items)
        rows = store.link.rows(
            "SELECT feature FROM features TABLESAMPLE BERNOULLI (%s) REPEATABLE (%s) WHERE category_id = %s LIMIT %s",
            (share, SEED, category, 3 * count),
        )
        chosen = generator.permutation(len(rows))[:count]
        asked += [(category, np.frombuffer(rows[n][0], FEATURE_TYPE).astype(np.float32)) for n in chosen]
    return asked
