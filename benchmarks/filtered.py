"""Filtered search against the unfiltered one and against brute force, at every selectivity.

Filters are in use before they are timed, for two rounds of all queries: broad ones are listed when they come again.
Brute force reads the features of all that match and leaves nothing to the index; beyond ``EXACT_ITEMS`` it is left out.
"""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import instances
from benchmarks.catalogue import SPREAD
from benchmarks.nearest import EXACT_ITEMS
from benchmarks.setting import SIZES, show
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING
from imgsearch.search import candidates
from imgsearch.search.ranking import Query, Ranker, Ranking
from imgsearch.search.score import Calibration
from imgsearch.search.siblings import WITH_LIFT
from imgsearch.storage.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.nearest import Features
    from imgsearch.filters.tree import Condition
    from imgsearch.storage.port import Storage

QUERIES = 20
RANKS = 10
ROUNDS = 3
"""All but the last one only warm up the caches."""
CALIBRATION = Calibration(3.0, -4.0)
SHARES = (1.0, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.03, 0.01, 0.001, 0.00001)
"""Of all items, that the filter lets through."""


@dataclass
class Filtered:
    """What searches with one filter have shown."""

    seconds: list[float] = field(default_factory=list)
    """Of each search."""
    is_enough: bool = True
    """Whether each gave as many hits as it should."""
    same: list[float] = field(default_factory=list)
    """The share of brute force's hits, of each search that was compared and has some."""


def filtered(
    engine: Storage, queries: Features, categories: Sequence[int], *, within: bool, compared: bool
) -> dict[str, Filtered]:
    """Search with each filter, and without: ``none``.

    Args:
        engine: with a catalogue.
        queries: shape (n, dimension).
        categories: of each.
        within: search the query's category only.
        compared: with brute force.
    """
    conditions = {f"{share:.3%}": parse_filter(f"int_attr2<{round(share * SPREAD)}") for share in SHARES}
    shown = {name: Filtered() for name in ("none", *conditions)}
    asked = [
        (Query(feature, bytes(16)), (category,) if within else ())
        for feature, category in zip(queries, categories, strict=True)
    ]
    hits: dict[tuple[str, int], set[int]] = {}
    for turn in range(ROUNDS):
        for number, (query, where) in enumerate(asked):
            for name, condition in (("none", EVERYTHING), *conditions.items()):
                begun = time.perf_counter()
                ranking = _ranked(engine, query, where, condition)
                if turn == ROUNDS - 1:
                    shown[name].seconds.append(time.perf_counter() - begun)
                if name != "none":
                    shown[name].is_enough &= len(ranking.hits) == min(RANKS, ranking.found)
                    hits[name, number] = {hit.item.id for hit in ranking.hits}
    if compared:  # only now: brute force reads everything, and would leave the next search with useless caches
        for (name, number), found in hits.items():
            best = _brute_force(engine, *asked[number], conditions[name])
            if best:
                shown[name].same.append(len(best & found) / len(best))
    return shown


def _ranked(engine: Storage, query: Query, where: tuple[int, ...], condition: Condition) -> Ranking:
    return Ranker(engine).search(
        query, CALIBRATION, num=RANKS, categories=where, condition=condition, weights=WITH_LIFT
    )


def _measured(size: int) -> list[tuple[object, ...]]:
    queries, categories = instances.catalogue(size).queries(QUERIES)
    rows: list[tuple[object, ...]] = []
    with closing(Engine.open(instances.instance(size))) as engine:
        for within in (False, True):
            shown = filtered(engine, queries, categories, within=within, compared=size <= EXACT_ITEMS)
            for name, one in shown.items():
                ratio = statistics.median(a / b for a, b in zip(one.seconds, shown["none"].seconds, strict=True))
                label = f"{size:,}, {'one category' if within else 'any category'}, filter {name}"
                hits = "" if name == "none" else "yes" if one.is_enough else "NO"
                equal = f"{np.mean(one.same):.3f}" if one.same else ""
                rows.append((label, 1000 * statistics.median(one.seconds), ratio, hits, equal))
    return rows


def _brute_force(engine: Storage, query: Query, where: tuple[int, ...], condition: Condition) -> set[int]:
    """Ids of the results when everything that matches is scanned and nothing is left to the index."""
    limit = candidates.EXACT_SCAN_LIMIT
    candidates.EXACT_SCAN_LIMIT = sys.maxsize  # type: ignore[misc]
    try:
        ranking = _ranked(engine, query, where, condition)
    finally:
        candidates.EXACT_SCAN_LIMIT = limit  # type: ignore[misc]
    return {hit.item.id for hit in ranking.hits}


def main() -> None:
    rows = [row for size in SIZES for row in _measured(size)]
    columns = ("items, where, share that matches", "ms", "to no filter", f"{RANKS} or all", "as brute force")
    show("Filtered searches", columns, rows)


if __name__ == "__main__":
    main()
