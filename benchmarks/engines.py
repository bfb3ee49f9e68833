"""The same catalogue in a folder, in PostgreSQL with pgvector, and in PostgreSQL with Milvus.

The servers come from packages (``tests/postgres_server.py``, ``tests/milvus_server.py``) and run on the same machine
with durable commits; an engine whose package is missing is left out. ``IMGSEARCH_BENCHMARK_SIZES`` names the sizes,
``IMGSEARCH_BENCHMARK_ENGINES`` some of the engines (``folder,pgvector,milvus``).
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import instances
from benchmarks.catalogue import CHUNK
from benchmarks.filtered import filtered
from benchmarks.nearest import CALIBRATION, RECALL_QUERIES, exact_ids, nearest_ids, recall_of
from benchmarks.setting import SIZES, show
from imgsearch import Instance
from imgsearch.search.ranking import Query, Ranker
from imgsearch.search.siblings import WITH_LIFT
from imgsearch.storage.backends import backend_of
from imgsearch.types import Extracted, Upsert
from imgsearch.values import Attributes, Key, Region, RegionMode
from tests import postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from imgsearch.storage.port import Storage

SERVER = {"fsync": "on", "shared_buffers": "1GB", "max_wal_size": "4GB", "max_connections": "60"}
NAMES = ("folder", "pgvector", "milvus")
CHOSEN = os.environ.get("IMGSEARCH_BENCHMARK_ENGINES", ",".join(NAMES)).split(",")
SINGLE_QUERIES = 50
BATCH_QUERIES = 200
FILTERED_QUERIES = 11
BATCH = 4096
BATCHES = 5
FRESH = int(os.environ.get("IMGSEARCH_BENCHMARK_FRESH", "1000"))
RANKS = 10
BACKGROUND = Region(112, 711, 96, 688)

Figures = dict[str, float | str]


@contextmanager
def _folder() -> Iterator[Instance]:
    with tempfile.TemporaryDirectory(dir=instances.FOLDER) as temporary:
        place = Path(temporary) / "instance"
        Instance.create(place)
        with Instance.open(place) as instance:
            yield instance


@contextmanager
def _in_postgres(index: str | None = None) -> Iterator[Instance]:
    server = postgres_server.PostgresServer(SERVER)
    try:
        url = server.url("benchmark")
        Instance.create(url, index=index)
        with Instance.open(url) as instance:
            yield instance
    finally:
        server.remove()


@contextmanager
def _in_milvus() -> Iterator[Instance]:
    from tests import milvus_server

    _, cable = milvus_server.shared_server()
    with _in_postgres(f"milvus://127.0.0.1:{cable.port}?timeout=60") as instance:
        yield instance


def _why_not(name: str) -> str | None:
    """Why an engine cannot be had here; None if it can."""
    if name != "folder" and not postgres_server.is_installed():
        return postgres_server.MISSING
    if name == "milvus":
        from tests import milvus_server

        return milvus_server.why_not()
    return None


def _engines() -> dict[str, Callable[[], AbstractContextManager[Instance]]]:
    """The engines that can be had here, by name; the others are told of."""
    ways = {"folder": _folder, "pgvector": _in_postgres, "milvus": _in_milvus}
    reasons = {name: _why_not(name) for name in CHOSEN}
    for name, reason in reasons.items():
        if reason is not None:
            print(f"{name} is left out: {reason}")
    return {name: ways[name] for name, reason in reasons.items() if reason is None}


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _reading(instance: Instance) -> AbstractContextManager[Storage]:
    return closing(backend_of(instance.folder).open(instance.folder))


def _import(instance: Instance, size: int) -> None:
    for outcome in instance.import_stream(instances.export(size), rebuild=False):
        if outcome.error is not None:
            raise RuntimeError(outcome.error)


def _searching(engine: Storage, size: int) -> Figures:
    queries, categories = instances.catalogue(size).queries(max(RECALL_QUERIES, BATCH_QUERIES))
    asked = [(Query(query, bytes(16)), (category,)) for query, category in zip(queries, categories, strict=True)]

    def search(start: int, count: int) -> float:
        some = asked[start : start + count]
        return _seconds(lambda: Ranker(engine).search_many(some, CALIBRATION, num=RANKS, weights=WITH_LIFT)) / count

    search(0, 5)  # warms up
    single = [search(number, 1) for number in range(SINGLE_QUERIES)]
    batch = [search(0, BATCH_QUERIES) for _ in range(2)]
    found = nearest_ids(engine, queries[:RECALL_QUERIES])
    figures: Figures = {
        "search, one by one, ms": 1000 * statistics.median(single),
        f"search, {BATCH_QUERIES} in a batch, ms each": 1000 * statistics.median(batch),
        "recall@10 of all categories": recall_of(found, exact_ids(size, queries[:RECALL_QUERIES])),
    }
    some = slice(0, FILTERED_QUERIES)
    for name, one in filtered(engine, queries[some], categories[some], within=True, compared=True).items():
        figures[f"filter {name}, ms"] = 1000 * statistics.median(one.seconds)
        if name != "none":
            lost = "none lost" if one.is_enough else "HITS LOST"
            figures[f"filter {name}, as brute force"] = f"{np.mean(one.same):.3f}, {lost}" if one.same else lost
    return figures


def _further(size: int, number: int) -> list[Upsert]:
    """A batch of pictures that the catalogue lacks."""
    rows = number * BATCH
    start = rows // CHUNK * CHUNK
    piece = instances.catalogue(size).piece(start if start < size else 0, seed=2)
    made = []
    for row in range(BATCH):
        place = (rows + row) % len(piece.features)
        feature = piece.features[place].astype(np.float32)
        name = f"{number}-{row}"
        made.append(
            Upsert(
                Key(f"new{number}-{row // 3}", f"{row % 3}.jpg"),
                Extracted(
                    name.encode().ljust(16, b"-"), None, BACKGROUND, (BACKGROUND,), int(piece.categories[place]), (),
                    feature, None,
                ),
                RegionMode.SUBJECT,
                False,
                Attributes(int_attr=row % 100, int_attr2=int(piece.spread[place]), str_attr=f"brand-{row % 50}"),
                None,
            )
        )  # fmt: skip
    return made


def _inserting(instance: Instance, size: int) -> Figures:
    """Into the live index: what is acknowledged, and until the index has it."""
    batches = [_further(size, number) for number in range(BATCHES + 1)]
    with backend_of(instance.folder).writer(instance.folder, 60) as engine:

        def insert(changes: list[Upsert]) -> None:
            with engine.committing({change.key.product_id for change in changes}) as store:
                store.insert(changes)

        insert(batches.pop())
        taken = [_seconds(lambda batch=batch: insert(batch)) for batch in batches]  # type: ignore[misc]
        refreshed = _seconds(engine.refresh)
    return {
        f"insert in batches of {BATCH}, rows/s": BATCH / statistics.median(taken),
        f"index brought up to date after {(BATCHES + 1) * BATCH:,} more, s": refreshed,
    }


def _freshness(instance: Instance, size: int) -> Figures:
    """Searches that find what another connection has stored before they began."""
    changes = _further(size, BATCHES + 1)[:FRESH]
    found, stored, searched = 0, [], []
    generator = np.random.default_rng(3)
    with backend_of(instance.folder).writer(instance.folder, 60) as writer, _reading(instance) as reader:
        for change in changes:
            feature = generator.standard_normal(len(change.extracted.feature)).astype(np.float32)
            feature = (feature / np.linalg.norm(feature)).astype(np.float16).astype(np.float32)
            one = replace(change, extracted=replace(change.extracted, feature=feature))
            begun = time.perf_counter()
            with writer.committing({one.key.product_id}) as store:
                store.insert([one])
            stored.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            query = Query(feature / np.linalg.norm(feature), bytes(16))
            ranking = Ranker(reader).search(query, CALIBRATION, num=1, categories=(one.extracted.category_id,))
            searched.append(time.perf_counter() - begun)
            found += [hit.item.key for hit in ranking.hits] == [one.key]
    return {
        "found at once": f"{found:,} of {len(changes):,}",
        "a single insert, ms": 1000 * statistics.median(stored),
        "the search after it, ms": 1000 * statistics.median(searched),
    }


def _measured(instance: Instance, size: int) -> Figures:
    figures: Figures = {"import, items/s": size / _seconds(lambda: _import(instance, size))}
    figures["rebuild, s"] = _seconds(instance.rebuild)
    with _reading(instance) as engine:
        generation = engine.store.generation()
        assert generation is not None
        figures["recall@10 told at rebuild"] = 1.0 if generation.recall is None else generation.recall
        figures |= _searching(engine, size)
    figures |= _inserting(instance, size)
    return figures | _freshness(instance, size)


def _row(label: str, by_engine: dict[str, Figures]) -> tuple[object, ...]:
    """A line of the table: figures, and how many times those of the first engine they are."""
    values = [figures[label] for figures in by_engine.values()]
    cells: list[object] = []
    for value in values:
        if isinstance(value, str) or "recall" in label:
            cells.append(value if isinstance(value, str) else f"{value:.4f}")
            continue
        shown = f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
        first = values[0]
        cells.append(f"{shown} ({value / first:.2f})" if isinstance(first, float) and cells else shown)
    return (label, *cells)


def main() -> None:
    for size in SIZES:
        instances.export(size)
        by_engine: dict[str, Figures] = {}
        for name, way in _engines().items():
            with way() as instance:
                by_engine[name] = _measured(instance, size)
            print(name, by_engine[name], flush=True)
        by_engine = {name: by_engine[name] for name in NAMES if name in by_engine}
        first = next(iter(by_engine))
        title = f"{size:,} items; in parentheses: times as many as {first}"
        show(title, ("", *by_engine), [_row(label, by_engine) for label in by_engine[first]])


if __name__ == "__main__":
    main()
