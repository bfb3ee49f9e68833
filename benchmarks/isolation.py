"""Isolation: what decoding in processes of their own costs, beside decoding in the threads of one process.

Both run in turn on the same pictures, several times, with everything predicted, as ``add`` does it without its commits.
And one picture of a young process, as ``search`` decodes it: there, in a process that was started ahead, or in one that
is started for it.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import wait
from pathlib import Path

from benchmarks.photos import SIZE, make_photos
from benchmarks.setting import show
from imgsearch import FilePicture, Kind, PictureOptions
from imgsearch.locations import cache_folder
from imgsearch.opened import WORKERS_PER_CORE
from imgsearch.vision.limits import Limits
from imgsearch.vision.models import DEFAULT_MODEL, find_model
from imgsearch.vision.openvino_export import converted_model
from imgsearch.vision.pipeline import Pipeline
from imgsearch.vision.runtime import Network, available_cores

PICTURES = 500
ROUNDS = 5
KIBIBYTES_PER_MEBIBYTE = 1024
SINGLE_ROUNDS = 31
WAYS = ("in the command itself", "in a process started ahead", "in a process started for it")
ONE_PICTURE = """
import sys, time
from imgsearch import own_process
own_process.claim([])
way, path = int(sys.argv[1]), sys.argv[2]
begun = time.perf_counter()
if way == 1:
    from imgsearch.vision.decoder_start import start_ahead
    start_ahead()
started = time.perf_counter() - begun
import numpy
time.sleep(0.3)  # while the instance is opened and networks are loaded
from imgsearch.vision.limits import Limits
data = open(path, "rb").read()
begun = time.perf_counter()
if way == 0:
    from imgsearch.vision.picture import OpenPicture
    picture = OpenPicture(data, Limits())
else:
    from imgsearch.vision.decoder_pool import Decoders
    decoders = Decoders(Limits())
    picture = decoders.open(data)
for _ in range(3):
    picture.decode(picture.whole, 256)
print(started + time.perf_counter() - begun)
"""
"""What the command waits for, in seconds; loading Pillow is part of it in the first case."""


def _extracted(network: Network, paths: list[Path], *, isolated: bool) -> tuple[float, float]:
    """Pictures per second, and MiB of memory that the decoding processes have for themselves at the end."""
    workers = WORKERS_PER_CORE * available_cores()
    begun = time.perf_counter()
    with Pipeline(lambda: network, Limits(), Kind.PRODUCT, workers, isolated=isolated) as pipeline:
        futures = [pipeline.submit(FilePicture(path), PictureOptions(), lambda _hash: False) for path in paths]
        wait(futures)
        memory = _private_memory()
    for future in futures:
        future.result()  # raises if it was not extracted
    return len(paths) / (time.perf_counter() - begun), memory


def _private_memory() -> float:
    """MiB that all decoding processes share with nobody, and their part of what they share."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"imgsearch.vision.decoder_worker" in status.read_bytes():
                found = re.search(r"^Pss:\s+(\d+) kB", (status.parent / "smaps_rollup").read_text(), re.MULTILINE)
                total += int(found[1]) if found else 0
        except OSError:  # it has ended
            continue
    return total / KIBIBYTES_PER_MEBIBYTE


def _one_picture(path: Path) -> None:
    """Show what a command waits for until its picture is decoded, in turn for each way."""
    seconds: dict[int, list[float]] = {way: [] for way in range(len(WAYS))}
    for number in range(-1, SINGLE_ROUNDS):  # the first round warms up
        for way, taken in seconds.items():
            words = [sys.executable, "-c", ONE_PICTURE, str(way), str(path)]
            waited = float(subprocess.run(words, capture_output=True, check=True).stdout)
            if number >= 0:
                taken.append(waited)
    more = [[one - here for one, here in zip(seconds[way], seconds[0], strict=True)] for way in seconds]
    rows = [
        (name, 1000 * statistics.median(seconds[way]), 1000 * statistics.median(more[way]))
        for way, name in enumerate(WAYS)
    ]
    columns = ("one picture is decoded", "ms", "ms more")
    show(f"Waiting for one JPEG of {SIZE[0]} x {SIZE[1]}, medians of {SINGLE_ROUNDS}", columns, rows)


def main() -> None:
    cache = cache_folder()
    network = Network(converted_model(find_model(DEFAULT_MODEL), cache, print), cache, parallel=True)
    speeds: dict[bool, list[float]] = {False: [], True: []}
    memory = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        make_photos(folder, PICTURES)
        paths = sorted(folder.iterdir())
        _one_picture(paths[0])
        for number in range(-1, ROUNDS):  # the first round warms up
            for isolated, taken in speeds.items():
                speed, used = _extracted(network, paths, isolated=isolated)
                memory = max(memory, used)
                if number >= 0:
                    taken.append(speed)
    ratio = statistics.median(one / other for one, other in zip(speeds[True], speeds[False], strict=True))
    rows = [
        ("in threads of one process", statistics.median(speeds[False]), 1.0, 0.0),
        ("in processes of their own", statistics.median(speeds[True]), ratio, memory),
    ]
    columns = ("decoding", "pictures/s", "ratio", "MiB of these processes")
    show(f"Extracting {PICTURES} JPEGs of {SIZE[0]} x {SIZE[1]}, medians of {ROUNDS}", columns, rows)


if __name__ == "__main__":
    main()
