"""Listing all items, and changing many of them, in processes of their own.

The baseline of a listing is a command that reads a few facts of the same instance (``info``); that of an update is one
that looks for items to change and finds none.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks import duplicates
from benchmarks.process import IMGSEARCH, run
from benchmarks.setting import SIZES, show

CHANGED = "int_attr<10"
"""A tenth of the items (``duplicates.synthetic``)."""


def _first_line(command: list[str]) -> float:
    """Seconds until a command has printed its first line; it is ended then."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - begun
        process.kill()
    return seconds


def _rows(size: int) -> list[tuple[object, ...]]:
    instance = ["-i", os.fspath(duplicates.synthetic(size))]
    info, info_peak = run([*IMGSEARCH, "info", *instance])
    rows: list[tuple[object, ...]] = [(f"{size:,}", "info", info, 1.0, "", info_peak)]
    for name, words in {
        "list": ["list"],
        "list, one category": ["list", "--category", "Tops"],
        "list, a filter": ["list", "--filter", CHANGED],
    }.items():
        command = [*IMGSEARCH, *words, *instance, "--format", "jsonl"]
        first = _first_line(command)
        seconds, peak = run(command)
        rows.append((f"{size:,}", name, seconds, seconds / info, first, peak))
    for name, value in (("update, nothing differs", None), ("update, a tenth differs", str(time.time_ns() % 10**6))):
        change = ["--unset", "int-attr4"] if value is None else ["--int-attr4", value]
        seconds, peak = run([*IMGSEARCH, "update", "--filter", CHANGED, *change, *instance])
        rows.append((f"{size:,}", name, seconds, seconds / info, "", peak))
    run([*IMGSEARCH, "update", "--filter", CHANGED, "--unset", "int-attr4", *instance])
    return rows


def main() -> None:
    sizes = [size for size in SIZES if size <= duplicates.LARGEST]
    for size in sizes:  # in processes of their own: what a child has at its peak includes its parent's size
        run([sys.executable, "-c", f"from benchmarks import duplicates; duplicates.synthetic({size})"])
    rows = [row for size in sizes for row in _rows(size)]
    show("Listing and changing items", ("items", "command", "seconds", "ratio", "first line, s", "peak MB"), rows)
