"""Many items at once: ``import`` against a bare ``executemany``, ``rebuild`` against bare FAISS, and what is stored.

``IMGSEARCH_BENCHMARK_SIZES`` names the sizes; the largest up to ``LARGEST`` is measured.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks import instances
from benchmarks.process import IMGSEARCH, run
from benchmarks.setting import SIZES, show
from imgsearch import Instance
from imgsearch.storage.engine import Engine
from imgsearch.storage.sqlite.schema import PAGE_BYTES, migrate
from imgsearch.storage.sqlite.store import DATABASE_NAME

LARGEST = 2_000_000
ROUNDS = 2
ROWS_AT_ONCE = 4096
BARE_FAISS = """
import resource, sys, time
import faiss, numpy as np
features = np.load(sys.argv[1], mmap_mode="r")
lists, points, iterations, chunk = map(int, sys.argv[2:6])
begun = time.perf_counter()
quantizer = faiss.IndexFlatIP(features.shape[1])
index = faiss.IndexIVFRaBitQ(quantizer, features.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
index.cp.niter, index.cp.spherical = iterations, True
rows = np.sort(np.random.default_rng(0).choice(len(features), min(points, len(features)), replace=False))
index.train(features[rows].astype(np.float32))
for start in range(0, len(features), chunk):
    piece = features[start : start + chunk].astype(np.float32)
    index.add_with_ids(piece, np.arange(start, start + len(piece)))
faiss.write_index(index, sys.argv[6])
print(time.perf_counter() - begun)
"""


def _executemany(size: int, target: Path) -> float:
    """Seconds that SQLite takes for the same rows, read from an instance, in an empty database of the same schema."""
    with closing(sqlite3.connect(target, isolation_level=None)) as new:
        new.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        new.execute("PRAGMA journal_mode = WAL")
        migrate(new)
        new.execute("PRAGMA synchronous = FULL")
        seconds = 0.0
        with closing(sqlite3.connect(f"file:{instances.instance(size) / DATABASE_NAME}?mode=ro", uri=True)) as old:
            rows = {table: old.execute(f"SELECT * FROM {table} ORDER BY id") for table in ("items", "features")}
            while True:
                batch = {table: cursor.fetchmany(ROWS_AT_ONCE) for table, cursor in rows.items()}
                if not batch["items"]:
                    return seconds
                begun = time.perf_counter()
                new.execute("BEGIN")
                for table, values in batch.items():
                    new.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values[0]))})", values)
                new.execute("COMMIT")
                seconds += time.perf_counter() - begun


def _import(size: int, target: Path) -> tuple[float, float]:
    Instance.create(target)
    return run([*IMGSEARCH, "import", str(instances.export(size)), "-i", str(target), "--no-rebuild", "-q"])


def _bare_faiss(size: int, lists: int, target: Path) -> float:
    from imgsearch.storage.engine import REBUILD_CHUNK
    from imgsearch.storage.faiss import clustering, index_builder

    points = min(index_builder.MAX_TRAINING_POINTS, index_builder.TRAINING_POINTS_PER_LIST * lists)
    features = instances.export(size) / "features.npy"
    numbers = map(str, (lists, points, clustering.ITERATIONS, REBUILD_CHUNK))
    command = [sys.executable, "-c", BARE_FAISS, str(features), *numbers, str(target)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _rebuild(folder: Path) -> tuple[float, float, int, float]:
    """Seconds, MB, and how many searches were answered meanwhile, the slowest in seconds."""
    product = ["--product-id", "p0000001", "--pic-name", "0.jpg", "-i", str(folder), "-q", "--format", "json"]
    with tempfile.TemporaryFile() as answer:
        rebuilding = subprocess.Popen([*IMGSEARCH, "rebuild", "-i", str(folder), "--format", "json"], stdout=answer)
        searches = []
        while os.waitid(os.P_PID, rebuilding.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            searches.append(run([*IMGSEARCH, "search", *product])[0])
            time.sleep(2)
        _, status, usage = os.wait4(rebuilding.pid, 0)
        rebuilding.returncode = os.waitstatus_to_exitcode(status)
        if rebuilding.returncode:
            raise RuntimeError(f"the rebuild failed with status {rebuilding.returncode}")
        answer.seek(0)
        return json.load(answer)["Seconds"], usage.ru_maxrss / 1024, len(searches), max(searches)


def main() -> None:
    size = max(size for size in SIZES if size <= LARGEST)
    instances.instance(size)
    taken: dict[str, list[float]] = {"executemany": [], "import": [], "bare FAISS": [], "rebuild": []}
    peaks: dict[str, float] = {}
    searches, slowest = 0, 0.0
    with tempfile.TemporaryDirectory(dir=instances.FOLDER) as temporary:
        for number in range(ROUNDS):
            bare, whole = Path(temporary) / f"bare-{number}.db", Path(temporary) / f"whole-{number}"
            taken["executemany"].append(_executemany(size, bare))
            bare.unlink()
            seconds, peaks["import"] = _import(size, whole)
            taken["import"].append(seconds)
            seconds, peaks["rebuild"], count, worst = _rebuild(whole)
            taken["rebuild"].append(seconds)
            searches, slowest = searches + count, max(slowest, worst)
            with closing(Engine.open(whole)) as engine:
                generation = engine.store.generation()
            assert generation is not None
            lists = int(generation.structure.removeprefix("IVF").partition(",")[0])
            taken["bare FAISS"].append(_bare_faiss(size, lists, Path(temporary) / "bare.faiss"))
            stored = sum(path.stat().st_size for path in whole.iterdir()) / size
            shutil.rmtree(whole)
    rows = [
        (
            name,
            statistics.median(seconds),
            statistics.median(a / b for a, b in zip(seconds, taken[baseline], strict=True)),
            f"{peaks[name]:.0f}" if name in peaks else "",
        )
        for name, baseline in (
            ("executemany", "executemany"),
            ("import", "executemany"),
            ("bare FAISS", "bare FAISS"),
            ("rebuild", "bare FAISS"),
        )
        for seconds in [taken[name]]
    ]
    show(f"{size:,} items, medians of {ROUNDS}", ("", "seconds", "ratio", "peak MB"), rows)
    print(f"Stored: {stored:.0f} bytes a picture in all, index included ({generation.structure}).")
    print(f"During the rebuilds {searches} searches in new processes were answered, the slowest in {slowest:.2f} s.")


if __name__ == "__main__":
    main()
