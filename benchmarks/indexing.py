"""Indexing: pictures per second of ``add`` on one-megapixel JPEGs, for each of the ways that a picture can go.

They run in turn in the same process, several times, so that the ratios hold on a noisy machine: to what ``add`` was
before subjects were found (one pass of Lite2 over the whole picture), and to that bare model on ready-made tensors.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.photos import SIZE, make_photos
from benchmarks.setting import show
from imgsearch import Instance, Kind, PictureOptions, Status
from imgsearch.locations import cache_folder
from imgsearch.sources.files import FileRequest, operations
from imgsearch.vision.models import DEFAULT_MODEL, find_model
from imgsearch.vision.openvino_export import converted_model
from imgsearch.vision.runtime import REQUESTS_PER_STREAM, Network, available_cores

PICTURES = 1000
ROUNDS = 3


@dataclass(frozen=True)
class Way:
    """One way of adding pictures."""

    name: str
    kind: Kind = Kind.PRODUCT
    model: str = DEFAULT_MODEL
    options: PictureOptions = field(default=PictureOptions())


BEFORE = Way(
    "efficientnet-lite2, whole pictures, generic (as before)",
    Kind.GENERIC,
    "efficientnet-lite2",
    PictureOptions(crop=False),
)
WAYS = (
    BEFORE,
    Way("the default, whole pictures, generic", Kind.GENERIC, options=PictureOptions(crop=False)),
    Way("the default, subject found, generic", Kind.GENERIC),
    Way("the default, subject found, category given", options=PictureOptions(category_id=5)),
    Way("the default, subject found, category predicted"),
)


def bare_speed(network: Network, count: int) -> float:
    """Pictures per second of the model's features alone, on as many threads as it has requests."""
    tensors = np.random.default_rng(0).integers(0, 256, (16, network.input_size, network.input_size, 3), np.uint8)
    with ThreadPoolExecutor(REQUESTS_PER_STREAM * available_cores()) as threads:
        begun = time.perf_counter()
        for _ in threads.map(network.embed, (tensors[number % len(tensors)] for number in range(count))):
            pass
        return count / (time.perf_counter() - begun)


def _add(folder: Path, target: Path, way: Way) -> float:
    """Pictures per second of a whole ``add`` into a new instance."""
    Instance.create(target, way.kind, model=way.model)
    with Instance.open(target) as instance:
        begun = time.perf_counter()
        outcomes = list(instance.apply(operations([folder], FileRequest(options=way.options))))
        seconds = time.perf_counter() - begun
    if any(outcome.status is not Status.ADDED for outcome in outcomes):
        raise RuntimeError("not every picture was added")
    return len(outcomes) / seconds


def main() -> None:
    cache = cache_folder()
    network = Network(converted_model(find_model(BEFORE.model), cache, print), cache, parallel=True)
    bare: list[float] = []
    speeds: dict[Way, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        make_photos(folder, PICTURES)
        for number in range(-1, ROUNDS):  # the first round warms up
            speed = bare_speed(network, PICTURES)
            rounds = {way: _add(folder, Path(temporary) / f"{number} {way.name}", way) for way in WAYS}
            if number >= 0:
                bare.append(speed)
                for way in WAYS:
                    speeds[way].append(rounds[way])
    rows = [(f"bare {BEFORE.model} on ready-made tensors", statistics.median(bare), "", 1.0)]
    for way in WAYS:
        before, alone = (
            statistics.median(one / other for one, other in zip(speeds[way], others, strict=True))
            for others in (speeds[BEFORE], bare)
        )
        rows.append((way.name, statistics.median(speeds[way]), before, alone))
    columns = ("add", "pictures/s", "ratio to before", "ratio to bare")
    show(f"Indexing {PICTURES} JPEGs of {SIZE[0]} x {SIZE[1]}, medians of {ROUNDS}", columns, rows)


if __name__ == "__main__":
    main()
