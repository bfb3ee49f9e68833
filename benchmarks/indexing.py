"""Indexing: pictures per second of ``add`` on one-megapixel JPEGs, against the bare model on ready-made tensors.

Both run in turn in the same process, several times, so that the ratio holds on a noisy machine.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.photos import SIZE, make_photos
from benchmarks.setting import show
from imgsearch import Instance, Status
from imgsearch.algorithm.conversion import converted_model
from imgsearch.algorithm.models import DEFAULT_MODEL, find_model
from imgsearch.algorithm.runtime import REQUESTS_PER_STREAM, Network, available_cores
from imgsearch.paths import cache_folder
from imgsearch.sources.files import FileRequest, operations

PICTURES = 2000
ROUNDS = 5


def bare_speed(network: Network, count: int) -> float:
    """Pictures per second of the model alone, on as many threads as it has requests."""
    tensors = np.random.default_rng(0).integers(0, 256, (16, network.input_size, network.input_size, 3), np.uint8)
    with ThreadPoolExecutor(REQUESTS_PER_STREAM * available_cores()) as threads:
        begun = time.perf_counter()
        for _ in threads.map(network.embed, (tensors[number % len(tensors)] for number in range(count))):
            pass
        return count / (time.perf_counter() - begun)


def _add(folder: Path, target: Path) -> float:
    """Pictures per second of a whole ``add`` into a new instance."""
    Instance.create(target)
    with Instance.open(target) as instance:
        begun = time.perf_counter()
        outcomes = list(instance.apply(operations([folder], FileRequest())))
        seconds = time.perf_counter() - begun
    if any(outcome.status is not Status.ADDED for outcome in outcomes):
        raise RuntimeError("not every picture was added")
    return len(outcomes) / seconds


def main() -> None:
    cache = cache_folder()
    network = Network(converted_model(find_model(DEFAULT_MODEL), cache, print), cache, parallel=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        make_photos(folder, PICTURES)
        bare_speed(network, PICTURES)
        _add(folder, Path(temporary) / "warm")
        pairs = []
        for number in range(ROUNDS):
            before = bare_speed(network, PICTURES)
            added = _add(folder, Path(temporary) / f"instance-{number}")
            after = bare_speed(network, PICTURES)
            pairs.append((added, (before + after) / 2))
    ratio = statistics.median(added / bare for added, bare in pairs)
    rows = [
        (f"bare {DEFAULT_MODEL} on ready-made tensors", statistics.median(bare for _, bare in pairs), 1.0),
        (f"add, JPEGs of {SIZE[0]} x {SIZE[1]}", statistics.median(added for added, _ in pairs), ratio),
    ]
    show(f"Indexing {PICTURES} pictures, medians of {ROUNDS}", ("what", "pictures/s", "ratio"), rows)


if __name__ == "__main__":
    main()
