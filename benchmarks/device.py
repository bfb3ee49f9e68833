"""Another device than the CPU: how fast its networks are, and how closely they match what OpenVINO makes on the CPU.

``IMGSEARCH_BENCHMARK_DEVICE`` names it, by default ``cuda``; ``torch:cpu`` and ``torch:cpu+bf16`` stand for a GPU where
there is none. Speed is that of all networks that ``add`` runs on a picture, on ready-made tensors, in turn with the
CPU's. What matches is measured on whole additions: features, subjects and categories of the same files, and lists of
results with queries made on the CPU, as ``search`` makes them.
"""

from __future__ import annotations

import csv
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.setting import EVALUATION_DATA, ROOT, show
from imgsearch import AddPicture, FilePicture, Instance, Key
from imgsearch.errors import DeviceUnusable
from imgsearch.locations import cache_folder
from imgsearch.vision.device_parity import cosines
from imgsearch.vision.devices import CPU, MAX_BATCH, Device
from imgsearch.vision.models import CATEGORY_SIZE, DEFAULT_MODEL, LOCATOR_SIZE, find_model
from imgsearch.vision.openvino_export import converted_model
from imgsearch.vision.runtime import Network

VARIABLE = "IMGSEARCH_BENCHMARK_DEVICE"
PICTURES = {True: 20_000, False: 300}
"""For a GPU, and for the CPU."""
ROUNDS = 3
TOP = 10


def _speed(network: Network, count: int) -> float:
    """Pictures per second, each of them located, embedded and categorised."""
    generator = np.random.default_rng(0)
    whole, region, inner = (
        generator.integers(0, 256, (16, side, side, 3), np.uint8)
        for side in (LOCATOR_SIZE, network.input_size, CATEGORY_SIZE)
    )

    def extract(number: int) -> None:
        network.locate(whole[number % 16])
        network.embed(region[number % 16])
        network.categorise(inner[number % 16])

    with ThreadPoolExecutor(2 * MAX_BATCH) as threads:
        begun = time.perf_counter()
        for _ in threads.map(extract, range(count)):
            pass
        return count / (time.perf_counter() - begun)


def _speeds(device: Device) -> dict[str, float]:
    cache = cache_folder()
    model = converted_model(find_model(DEFAULT_MODEL), cache, print)
    speeds: dict[str, list[float]] = {CPU: [], device.name: []}
    with (
        closing(Network(model, cache, parallel=True)) as cpu,
        closing(Network(model, cache, parallel=True, device=device.name)) as other,
    ):
        networks = {CPU: (cpu, PICTURES[False]), device.name: (other, PICTURES[device.is_cuda])}
        for number in range(-1, ROUNDS):  # the first round warms up
            for name, (network, count) in networks.items():
                speed = _speed(network, count)
                if number >= 0:
                    speeds[name].append(speed)
    return {name: statistics.median(found) for name, found in speeds.items()}


def _added(folder: Path, paths: list[Path], device: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, regions and categories of files, as an instance keeps them."""
    Instance.create(folder / "instance")
    keys = [Key(str(number), path.name) for number, path in enumerate(paths)]
    additions = (AddPicture(str(path), key, FilePicture(path)) for key, path in zip(keys, paths, strict=True))
    with Instance.open(folder / "instance", announce=print) as instance:
        for outcome in instance.apply_stream(additions, device=device):
            if outcome.error is not None:
                raise outcome.error
        rows = {key: row for row, key in enumerate(instance.export_stream(folder / "export"))}
        items = [instance.item(key) for key in keys]
    features = np.load(folder / "export" / "features.npy").astype(np.float32)[[rows[key] for key in keys]]
    return features, np.array([item.region.bounds for item in items]), np.array([item.category_id for item in items])


def _overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection by union of boxes of shape (n, 4): x1, x2, y1, y2."""
    sides = [np.minimum(one[:, end], other[:, end]) - np.maximum(one[:, end - 1], other[:, end - 1]) for end in (1, 3)]
    inside = np.clip(sides[0], 0, None) * np.clip(sides[1], 0, None)
    areas = [(box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2]) for box in (one, other)]
    return inside / (areas[0] + areas[1] - inside)


def _agreement(name: str, gallery: list[Path], queries: list[Path], device: Device) -> tuple[object, ...]:
    count = len(gallery)
    with tempfile.TemporaryDirectory() as temporary:
        ours, theirs = (
            _added(Path(temporary) / str(number), [*gallery, *queries], one)
            for number, one in enumerate((device.name, CPU))
        )
    asked = theirs[0][count:]
    first, second = (np.argsort(-(asked @ one[0][:count].T), axis=1)[:, :TOP] for one in (theirs, ours))
    cosine = cosines(ours[0], theirs[0])
    return (
        name,
        len(ours[0]),
        float(cosine.min()),
        float(cosine.mean()),
        float(np.mean([len(set(one) & set(other)) / TOP for one, other in zip(first, second, strict=True)])),
        float((first[:, 0] == second[:, 0]).mean()),
        float(_overlap(ours[1], theirs[1]).mean()),
        float((ours[2] == theirs[2]).mean()),
    )


def _sets() -> dict[str, tuple[list[Path], list[Path]]]:
    samples = ROOT / "sample_data"
    found = {"sample_data": (sorted((samples / "catalogue").rglob("*.jpg")), sorted((samples / "queries").iterdir()))}
    table = EVALUATION_DATA / "retrieval" / "groundtruth.csv"
    if table.exists():
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        gallery, queries = (
            [table.parent / row["file"] for row in rows if row["split"] == it] for it in ("gallery", "query")
        )
        found["photos"] = gallery, queries
    return found


def main() -> None:
    device = Device.parse(os.environ.get(VARIABLE, "cuda"))
    try:
        device.check()
    except DeviceUnusable as error:
        print(f"device: {error}; left out ({VARIABLE}=torch:cpu+bf16 measures torch on the CPU instead)")
        return
    print(f"device: {device.description()}")
    speeds = _speeds(device)
    rows = [(name, round(speed), speed / speeds[CPU]) for name, speed in speeds.items()]
    show("Networks of add on ready-made tensors", ("device", "pictures/s", "ratio to the CPU"), rows)
    columns = ("pictures", "number", "least cosine", "mean", f"same top {TOP}", "same first", "IoU", "same category")
    matches = [_agreement(name, *paths, device) for name, paths in _sets().items()]
    show(f"What {device.label} makes of pictures, against {Device(CPU).label}", columns, matches)


if __name__ == "__main__":
    main()
