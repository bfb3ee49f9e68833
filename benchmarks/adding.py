"""``add`` against what bounds it: the bare networks, the bare decoding, a plain script, and what is stored already.

All run in turn, round after round. The networks are those of the default model with everything predicted: finding the
subject, the features of its region, its category. Decoding is libjpeg-turbo's, by way of Pillow, scaled while it
decodes, and includes resizing to what the networks take.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import instances
from benchmarks.photos import DISTINCT, SIZE, make_photos
from benchmarks.plain_script import embed, networks
from benchmarks.setting import show
from imgsearch import Instance, Status
from imgsearch.locations import cache_folder
from imgsearch.opened import WORKERS_PER_CORE
from imgsearch.sources.files import FileRequest, operations
from imgsearch.vision.decoder_pool import Decoders
from imgsearch.vision.limits import LIMIT_PROFILES
from imgsearch.vision.models import CATEGORY_SIZE, DEFAULT_MODEL, LOCATOR_SIZE, find_model
from imgsearch.vision.openvino_export import converted_model
from imgsearch.vision.picture import OpenPicture
from imgsearch.vision.runtime import REQUESTS_PER_STREAM, Network, available_cores
from imgsearch.vision.subject_boxes import find_subjects, with_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgsearch.values import Region

PICTURES = 1200
PLAIN_PICTURES = 40
LIMITS = LIMIT_PROFILES["local"]
STORED = 1_000_000
ROUNDS = 5
BOUND = "both in turn on these cores: what is possible"
"""Pictures per second if networks and decoding were all that takes time."""


def _bare(network: Network) -> float:
    """Pictures per second of all networks on ready-made tensors."""
    generator = np.random.default_rng(0)
    sizes = (LOCATOR_SIZE, network.input_size, CATEGORY_SIZE)
    whole, region, category = (generator.integers(0, 256, (8, size, size, 3), np.uint8) for size in sizes)

    def run(number: int) -> None:
        network.locate(whole[number % 8])
        network.embed(region[number % 8])
        network.categorise(category[number % 8])

    with ThreadPoolExecutor(REQUESTS_PER_STREAM * available_cores()) as threads:
        begun = time.perf_counter()
        for _ in threads.map(run, range(PICTURES)):
            pass
        return PICTURES / (time.perf_counter() - begun)


def _regions(network: Network, paths: list[Path]) -> list[Region]:
    """What the networks see of the main subject of each."""
    regions = []
    for path in paths:
        picture = OpenPicture(path.read_bytes(), LIMITS)
        heat, _ = network.locate(picture.decode(picture.whole, LOCATOR_SIZE))
        main, *_ = find_subjects(heat, picture.width, picture.height)
        regions.append(with_context(main, picture.width, picture.height))
    return regions


def _decoded(paths: list[Path], regions: list[Region], size: int) -> float:
    """Pictures per second of reading and decoding as ``add`` does it, without a network."""
    decoders = Decoders(LIMITS)

    def run(path: Path, region: Region) -> None:
        picture = decoders.open(path.read_bytes())
        picture.decode(picture.whole, LOCATOR_SIZE)
        picture.decode(region, size)

    with ThreadPoolExecutor(WORKERS_PER_CORE * available_cores()) as threads:
        begun = time.perf_counter()
        for _ in threads.map(run, paths, cycle(regions)):
            pass
        seconds = time.perf_counter() - begun
    decoders.close()
    return len(paths) / seconds


def _added(target: Path, folder: Path, product: str | None = None) -> float:
    """Pictures per second of ``add``, to a new instance where there is none; those of a product are deleted again."""
    if not target.exists():
        Instance.create(target)
    with Instance.open(target) as instance:
        begun = time.perf_counter()
        outcomes = list(instance.apply(operations([folder], FileRequest(product_id=product))))
        seconds = time.perf_counter() - begun
        if any(outcome.status is not Status.ADDED for outcome in outcomes):
            raise RuntimeError("not every picture was added")
        if product is not None:
            instance.delete(product)  # the next round would take the features of the same bytes from there
    return len(outcomes) / seconds


def _plain(paths: list[Path]) -> float:
    """Pictures per second of the plain script, its imports and its loading left out."""
    models = networks()
    embed(models, str(paths[0]))
    begun = time.perf_counter()
    for path in paths[:PLAIN_PICTURES]:
        embed(models, str(path))
    return PLAIN_PICTURES / (time.perf_counter() - begun)


def main() -> None:
    cache = cache_folder()
    network = Network(converted_model(find_model(DEFAULT_MODEL), cache, print), cache, parallel=True)
    full = instances.instance(STORED)
    with tempfile.TemporaryDirectory(dir=instances.FOLDER) as temporary:
        folder, stocked = Path(temporary) / "photos", Path(temporary) / "stocked"
        make_photos(folder, PICTURES)
        paths = sorted(folder.iterdir())
        regions = _regions(network, paths[:DISTINCT])
        shutil.copytree(full, stocked)
        made = iter(range(1_000))

        def into_stock() -> float:
            return _added(stocked, folder, product="photos")

        ways: dict[str, Callable[[], float]] = {
            "bare networks on ready-made tensors": lambda: _bare(network),
            "reading and decoding alone": lambda: _decoded(paths, regions, network.input_size),
            "add to an empty instance": lambda: _added(Path(temporary) / f"empty-{next(made)}", folder),
            f"add to one of {STORED:,}": into_stock,
            "plain script (timm, torch)": lambda: _plain(paths),
        }
        bare, decoded, empty, _, plain = ways
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(-1, ROUNDS):  # the first round warms up
            for name, way in ways.items():
                speed = way()
                if number >= 0:
                    speeds[name].append(speed)
    speeds[BOUND] = [1 / (1 / one + 1 / other) for one, other in zip(speeds[bare], speeds[decoded], strict=True)]
    rows = [
        (
            name,
            statistics.median(taken),
            *(
                statistics.median(one / other for one, other in zip(taken, others, strict=True))
                for others in map(speeds.__getitem__, (bare, BOUND, empty, plain))
            ),
        )
        for name, taken in speeds.items()
    ]
    columns = ("", "pictures/s", "ratio to networks", "to both", "to empty", "to plain")
    show(f"Adding {PICTURES} JPEGs of {SIZE[0]} x {SIZE[1]}, medians of {ROUNDS}", columns, rows)


if __name__ == "__main__":
    main()
