"""The vector index: recall against exact search, and time per query, one by one and in a batch.

The baseline is FAISS's exact ``IndexFlatIP`` over the same features, queries one by one and all at once; beyond
``EXACT_ITEMS`` it is left out, as it would not fit into memory. Recall is told against an exact pass in pieces.
The floor is the time to read from memory once what a query must read: all centroids, the codes of the lists that are
scanned, and the features of its shortlist. ``IMGSEARCH_BENCHMARK_SIZES`` names the sizes.
"""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from typing import TYPE_CHECKING

import faiss
import numpy as np

from benchmarks import instances
from benchmarks.floors import memory_rate
from benchmarks.setting import SIZES, show
from imgsearch.filters.tree import EVERYTHING
from imgsearch.search.candidates import Snapshot
from imgsearch.search.ranking import CANDIDATES, Query, Ranker
from imgsearch.search.score import Calibration
from imgsearch.search.siblings import WITH_LIFT
from imgsearch.storage.engine import Engine
from imgsearch.storage.faiss.index_file import read_parts
from imgsearch.storage.faiss.index_header import FACTOR_BYTES, ID_BYTES
from imgsearch.storage.faiss.shortlist import shortlist_of, size_of
from imgsearch.storage.records import FEATURE_TYPE
from imgsearch.transfer.file_format import FEATURES_NAME

if TYPE_CHECKING:
    import numpy.typing as npt

    from imgsearch.storage.port import Storage
    from imgsearch.storage.sqlite.generations import Generation

    Features = npt.NDArray[np.float32]
    Ids = npt.NDArray[np.int64]

QUERIES = 1_000
RECALL_QUERIES = 200
SINGLE_QUERIES = 50
RANKS = 10
EXACT_ITEMS = 2_000_000
CHUNK = 100_000
CENTROID_BYTES = 4
"""Of each number."""
CALIBRATION = Calibration(3.0, -4.0)


def exact_ids(size: int, queries: Features) -> Ids:
    """Ids of the nearest by a pass over all features in pieces; shape (n, RANKS)."""
    features = np.load(instances.export(size) / FEATURES_NAME, mmap_mode="r")
    cosines = np.full((len(queries), 0), -np.inf, np.float32)
    ids = np.zeros((len(queries), 0), np.int64)
    for start in range(0, size, CHUNK):
        piece = features[start : start + CHUNK].astype(np.float32)
        numbers = np.arange(start + 1, start + len(piece) + 1)
        cosines = np.hstack([cosines, queries @ piece.T])
        ids = np.hstack([ids, np.broadcast_to(numbers, (len(queries), len(piece)))])
        best = np.argpartition(-cosines, RANKS, axis=1)[:, :RANKS]
        cosines, ids = np.take_along_axis(cosines, best, 1), np.take_along_axis(ids, best, 1)
    return ids


def nearest_ids(engine: Storage, queries: Features) -> list[Ids]:
    """Ids of the nearest to each by the index and the stored features, as a search takes its candidates."""
    with engine.store.reading():
        moment = Snapshot(engine)
        selection = moment.selection((), EVERYTHING)
        found = []
        for query, candidates in zip(
            queries, moment.candidates([(query, selection) for query in queries], RANKS), strict=True
        ):
            ids, features = engine.store.features_of(candidates.best(RANKS).tolist())
            found.append(ids[np.argsort(-(features @ query), kind="stable")[:RANKS]])
    return found


def recall_of(found: list[Ids], exact: Ids) -> float:
    """The share of the nearest that was found, in the mean."""
    return float(np.mean([len(np.intersect1d(own, best)) / RANKS for own, best in zip(found, exact, strict=True)]))


def floor_seconds(generation: Generation, dimension: int) -> float:
    """Seconds to read from memory once what a query for RANKS hits must read."""
    lists = 0 if generation.lists is None else read_parts(generation.lists)[-1].end
    shortlist = size_of(shortlist_of(generation.structure), RANKS) if lists else 0
    scanned = generation.items * min((generation.nprobe or 0) / lists, 1) if lists else generation.items
    per_item = dimension / 8 + FACTOR_BYTES + ID_BYTES if lists else dimension * FEATURE_TYPE.itemsize + ID_BYTES
    read = lists * dimension * CENTROID_BYTES + scanned * per_item + shortlist * dimension * FEATURE_TYPE.itemsize
    return read / memory_rate()


def _seconds_per_query(work: object, queries: Features) -> float:
    begun = time.perf_counter()
    work(queries)  # type: ignore[operator]
    return (time.perf_counter() - begun) / len(queries)


def _measured(size: int) -> list[tuple[object, ...]]:
    queries, categories = instances.catalogue(size).queries(QUERIES)
    with closing(Engine.open(instances.instance(size))) as engine:
        exact = exact_ids(size, queries[:RECALL_QUERIES])
        found = nearest_ids(engine, queries[:RECALL_QUERIES])
        recall = recall_of(found, exact)

        def one_by_one(some: Features) -> None:
            for query in some:
                nearest_ids(engine, query[None])

        def searches(some: Features) -> None:
            asked = [(Query(query, bytes(16)), (category,)) for query, category in zip(some, categories, strict=False)]
            Ranker(engine).search_many(asked, CALIBRATION, num=RANKS, weights=WITH_LIFT)

        ways = {
            "nearest, one by one": (one_by_one, queries[:SINGLE_QUERIES]),
            f"nearest, a batch of {QUERIES:,}": (lambda some: nearest_ids(engine, some), queries),
            "whole searches, one by one": (
                lambda some: [searches(query[None]) for query in some],
                queries[:SINGLE_QUERIES],
            ),
            f"whole searches, a batch of {QUERIES:,}": (searches, queries),
        }
        if size <= EXACT_ITEMS:
            flat = faiss.IndexFlatIP(queries.shape[1])
            flat.add(np.load(instances.export(size) / FEATURES_NAME).astype(np.float32))
            ways["exact, one by one"] = (
                lambda some: [flat.search(query[None], RANKS) for query in some],
                queries[:SINGLE_QUERIES],
            )
            ways[f"exact, a batch of {QUERIES:,}"] = (lambda some: flat.search(some, RANKS), queries)
        generation = engine.store.generation()
        assert generation is not None
        floor = floor_seconds(generation, queries.shape[1])
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(4):
            for name, (work, some) in ways.items():
                taken = _seconds_per_query(work, some)
                if number:
                    seconds[name].append(taken)
    rows: list[tuple[object, ...]] = []
    for name, taken in seconds.items():
        ratios = []
        for baseline in ("exact, one by one", f"exact, a batch of {QUERIES:,}"):
            if baseline in seconds:
                ratio = statistics.median(a / b for a, b in zip(taken, seconds[baseline], strict=True))
                ratios.append(f"1/{1 / ratio:.1f}" if ratio < 1 else f"{ratio:.2f}")
            else:
                ratios.append("")
        is_nearest = name.startswith("nearest, one")
        ratios.append(f"{statistics.median(taken) / floor:.1f}" if is_nearest else "")
        shown = f"{recall:.4f}" if is_nearest else ""
        rows.append((f"{size:,}: {name}", statistics.median(taken) * 1000, *ratios, shown))
    return [*rows, (f"{size:,}: reading what nearest must read", floor * 1000, "", "", "1.0", "")]


def main() -> None:
    rows = [row for size in SIZES for row in _measured(size)]
    columns = ("items", "ms a query", "to exact, one by one", "to exact, batch", "to floor", f"recall@{RANKS}")
    show(f"Nearest items; a whole search ranks {CANDIDATES} candidates with their siblings", columns, rows)


if __name__ == "__main__":
    main()
