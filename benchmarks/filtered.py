"""Filtered search against the unfiltered one and against brute force, at every selectivity.

Brute force reads the features of all that match and leaves nothing to the index; beyond ``EXACT_ITEMS`` it is left out.
"""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import instances
from benchmarks.catalogue import SPREAD
from benchmarks.nearest import EXACT_ITEMS
from benchmarks.setting import SIZES, show
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING
from imgsearch.search import candidates
from imgsearch.search.score import Calibration
from imgsearch.storage.engine import Engine, Query

if TYPE_CHECKING:
    from imgsearch.filters.tree import Condition

QUERIES = 20
RANKS = 10
BRUTE_FORCE_QUERIES = 20
CALIBRATION = Calibration(3.0, -4.0)
SHARES = (1.0, 0.1, 0.01, 0.001, 0.00001)
"""Of all items, that the filter lets through."""


def _measured(size: int) -> list[tuple[object, ...]]:
    queries, categories = instances.catalogue(size).queries(QUERIES)
    rows: list[tuple[object, ...]] = []
    with closing(Engine.open(instances.instance(size))) as engine:
        for within in (False, True):
            conditions = {f"{share:.3%}": parse_filter(f"int_attr2<{round(share * SPREAD)}") for share in SHARES}
            taken: dict[str, list[float]] = {name: [] for name in ("none", *conditions)}
            same: dict[str, list[float]] = {name: [] for name in conditions}
            enough = dict.fromkeys(conditions, True)
            for number, (feature, category) in enumerate(zip(queries, categories, strict=True)):
                where = (category,) if within else ()
                query = Query(feature, bytes(16))
                for name, condition in (("none", EVERYTHING), *conditions.items()):
                    begun = time.perf_counter()
                    ranking = engine.search(query, CALIBRATION, num=RANKS, categories=where, condition=condition)
                    if number:  # the first warms up
                        taken[name].append(time.perf_counter() - begun)
                    if name == "none":
                        continue
                    enough[name] &= len(ranking.hits) == min(RANKS, ranking.found)
                    if number < BRUTE_FORCE_QUERIES and size <= EXACT_ITEMS:
                        best = _brute_force(engine, query, where, condition)
                        if best:
                            same[name].append(len(best & {hit.item.id for hit in ranking.hits}) / len(best))
            for name, seconds in taken.items():
                ratio = statistics.median(a / b for a, b in zip(seconds, taken["none"], strict=True))
                label = f"{size:,}, {'one category' if within else 'any category'}, filter {name}"
                hits = "" if name == "none" else "yes" if enough[name] else "NO"
                equal = f"{np.mean(same[name]):.3f}" if same.get(name) else ""
                rows.append((label, 1000 * statistics.median(seconds), ratio, hits, equal))
    return rows


def _brute_force(engine: Engine, query: Query, where: tuple[int, ...], condition: Condition) -> set[int]:
    """Ids of the results when everything that matches is scanned and nothing is left to the index."""
    limit = candidates.EXACT_SCAN_LIMIT
    candidates.EXACT_SCAN_LIMIT = sys.maxsize  # type: ignore[misc]
    try:
        ranking = engine.search(query, CALIBRATION, num=RANKS, categories=where, condition=condition)
    finally:
        candidates.EXACT_SCAN_LIMIT = limit  # type: ignore[misc]
    return {hit.item.id for hit in ranking.hits}


def main() -> None:
    rows = [row for size in SIZES for row in _measured(size)]
    columns = ("items, where, share that matches", "ms", "to no filter", f"{RANKS} or all", "as brute force")
    show("Filtered searches", columns, rows)


if __name__ == "__main__":
    main()
