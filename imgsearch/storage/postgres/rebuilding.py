"""Filling a new generation of an index outside of the database, while searches and writers go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.filters.tree import EVERYTHING, category_condition
from imgsearch.storage.postgres.rows import Generation

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from imgsearch.storage.postgres.external_index import ExternalIndex
    from imgsearch.storage.postgres.store import Store

    Ids = npt.NDArray[np.int64]
    Stored = npt.NDArray[np.float16]

__all__ = ["EXACT_ITEMS", "rebuild"]

CHUNK: Final = 8_192
EXACT_ITEMS: Final = 20_000
"""Up to so many items, a search scans all lists."""
QUERIES: Final = 50
TARGETS: Final = {10: 0.99, 500: 0.95}
FIRST_PROBES: Final = 8
MOST_PROBES: Final = 4_096


def rebuild(store: Store, external: ExternalIndex) -> Generation:
    """Fill a new generation, publish it and drop the old ones; the caller holds ``Lock.INDEX``.

    What is stored meanwhile stays in ``pending``, and what is deleted in ``removed``, for the next step of the indexer.
    """
    number = store.next_number()
    with store.reading():  # what waits in this snapshot is in the new generation, or gone
        waiting, gone = store.waiting_ids(), store.removed_ids()
        external.build(number, _chunks(store))
        items = store.count()
        is_exact = items <= EXACT_ITEMS
        probes, recalls = (None, dict[int, float]()) if is_exact else _measured(store, external, number)
        dimension = len(next(store.scan(EVERYTHING, chunk=1))[1][0])
    generation = Generation(
        number=number,
        structure=external.version(),
        items=items,
        dimension=dimension,
        probes=probes,
        recall=recalls.get(10),
        recall_500=recalls.get(500),
        created=int(time.time()),
        bytes=0,
        lists=None if is_exact else "{}",
    )
    with store.writing([]):
        store.publish(generation)
        # Searches that see these rows gone see this generation, which shows all that it was built from.
        for table, ids in (("pending", waiting), ("removed", gone)):
            store.link.run(f"DELETE FROM {table} WHERE id = ANY (%s::bigint[])", (ids.tolist(),))
    external.publish(number)
    for other in external.numbers():
        if other != number:
            external.drop(other)
    with store.writing():
        store.prune_roots()
    published = store.generation()
    assert published is not None
    return published


def _chunks(store: Store) -> Iterator[tuple[Ids, Ids, Stored]]:
    for category in sorted(store.counts()):
        for ids, features in store.scan(category_condition((category,)), chunk=CHUNK):
            yield ids, np.full(len(ids), category, np.int64), features


def _measured(store: Store, external: ExternalIndex, number: int) -> tuple[int, dict[int, float]]:
    """How many lists a search has to scan, and the share of the nearest items that it then finds, by their number."""
    asked = []
    for category, items in sorted(store.counts().items()):
        ids = store.matching_ids(category_condition((category,)))
        share = max(1, round(QUERIES * items / max(1, store.count())))
        chosen = ids[np.linspace(0, len(ids) - 1, min(share, len(ids))).astype(np.int64)]
        _, features = store.features_of(np.unique(chosen).tolist())
        asked += [(category, feature) for feature in features]
    queries = np.stack([feature for _, feature in asked])
    inside = [(category,) for category, _ in asked]
    nearest = {
        size: [store.nearest(feature, category_condition((category,)), size) for category, feature in asked]
        for size in TARGETS
    }
    probes = FIRST_PROBES
    while True:
        recalls = {}
        for size, exact in nearest.items():
            found = external.shortlist(queries, size, inside, number=number, probes=probes)
            shares = [
                len(np.intersect1d(own, all_)) / max(1, len(all_)) for own, all_ in zip(found, exact, strict=True)
            ]
            recalls[size] = float(np.mean(shares))
        if probes >= MOST_PROBES or all(recalls[size] >= target for size, target in TARGETS.items()):
            return probes, recalls
        probes *= 2
