"""``sync`` and ``add`` of an unchanged folder, and of one in which a hundredth each is gone, renamed and changed.

The instance is imported with random features, so only what has changed needs the networks.
``IMGSEARCH_BENCHMARK_FILES`` is the number of files.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.process import IMGSEARCH
from benchmarks.setting import show
from imgsearch import Instance
from imgsearch.sources.files import RACY_NANOSECONDS, file_token
from imgsearch.transfer.file_format import FEATURES_NAME, ITEMS_NAME, STAMP_NAME
from imgsearch.vision.pipeline import content_hash

FILES = int(os.environ.get("IMGSEARCH_BENCHMARK_FILES", "100000"))
FILES_PER_FOLDER = 1000
SIDE = 104
"""Pixels; a row of bits is then whole bytes."""
SHARE = 100
"""One file of so many is gone, one is renamed and one is changed."""
WALK = "import os,sys; [os.stat(os.path.join(a, n)) for a, _, f in os.walk(sys.argv[1]) for n in f]"
"""What no comparison of files can do without."""


def _picture(number: int, version: int = 0) -> bytes:
    """A small picture in black and white, with the number in its first pixels."""
    pixels = bytes([number >> 16 & 255, number >> 8 & 255, number & 255, version]).ljust(SIDE * SIDE // 8, b"\xf0")
    return b"P4 %d %d\n%b" % (SIDE, SIDE, pixels)


def _name(number: int) -> str:
    return f"{number // FILES_PER_FOLDER:04d}/{number:07d}.pbm"


def write_files(folder: Path, count: int) -> None:
    """Write the pictures; returns when their times are old enough to be trusted."""
    for number in range(count):
        path = folder / _name(number)
        if number % FILES_PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(_picture(number))
    time.sleep(RACY_NANOSECONDS / 1e9 + 0.1)


def write_export(target: Path, folder: Path, count: int, instance: Instance) -> None:
    """Write an export with an item for each file."""
    target.mkdir()
    dimension = instance.model.dimension
    features = np.random.default_rng(1).standard_normal((count, dimension)).astype(np.float32)
    np.save(target / FEATURES_NAME, (features / np.linalg.norm(features, axis=1, keepdims=True)).astype("<f2"))
    with (target / ITEMS_NAME).open("w", encoding="utf-8") as lines:
        for number in range(count):
            name, token = _name(number), file_token(folder / _name(number))
            assert token is not None
            line = {
                "ProductId": name.removesuffix(".pbm"),
                "PicName": name,
                "CategoryId": 3,
                "CategoryGiven": False,
                "Region": f"0,{SIDE},0,{SIDE}",
                "RegionMode": "subject",
                "ContentHash": content_hash(_picture(number)).hex(),
                "Token": token.hex(),
                "Folder": str(folder.resolve()),
            }
            lines.write(json.dumps(line) + "\n")
    stamp = {"kind": str(instance.kind), **instance.model.stamp()}
    (target / STAMP_NAME).write_text(json.dumps(stamp), encoding="utf-8")


def _timed(*command: object) -> tuple[dict[str, object], float, float]:
    """The document that a command prints, and its seconds: in all, and of processors."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=True)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (json.loads(done.stdout) if done.stdout else {}), seconds, used


def main() -> None:
    """Make the folder and the instance, and print the table."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder, target = root / "pictures", root / "instance"
        write_files(folder, FILES)
        Instance.create(target)
        with Instance.open(target) as instance:
            write_export(root / "export", folder, FILES, instance)
            instance.import_items(root / "export")
        commands: dict[str, list[object]] = {
            "walking and looking at each file": [IMGSEARCH[0], "-c", WALK, folder],
            "a new process: `info`": [*IMGSEARCH, "info", "-i", target, "--format", "json"],
            "`sync`, unchanged": [*IMGSEARCH, "sync", "-i", target, folder, "--format", "json"],
            "`add`, unchanged": [*IMGSEARCH, "add", "-i", target, folder, "--format", "json"],
        }
        rows = [(title, *_timed(*command)) for title, command in commands.items()]
        for number in range(0, FILES, SHARE):
            (folder / _name(number)).unlink()
            (folder / _name(number + 1)).rename(folder / f"{_name(number + 1)}.moved.pbm")
            (folder / _name(number + 2)).write_bytes(_picture(number + 2, version=1))
        rows.append(("`sync`, a hundredth each gone, renamed, changed", *_timed(*commands["`sync`, unchanged"])))
        baseline = rows[0][2]
        counted = ("Unchanged", "Renamed", "Replaced", "Added", "Deleted", "Failed")
        show(
            f"{FILES:,} files",
            ("command", "seconds", "ratio", "processor seconds", *counted),
            [
                (
                    title,
                    f"{seconds:.2f}",
                    f"{seconds / baseline:.1f}",
                    f"{used:.2f}",
                    *(document.get(c, "") for c in counted),
                )
                for title, document, seconds, used in rows
            ],
        )


if __name__ == "__main__":
    main()
