"""Searches from the shell that a running server answers, against Python's bare start and the same searches without it.

A client is a whole process, from its start to its end. The last row is what the server does for it: one search in a
process that has the networks loaded.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks import instances
from benchmarks.process import IMGSEARCH, run
from benchmarks.setting import ROOT, SIZES, show
from imgsearch import Instance
from imgsearch.cli.warm_client import NO_SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUNDS = 25
QUERY = str(ROOT / "sample_data" / "queries" / "mug-red.jpg")
START = "python -c pass"
ALONE = "search by picture, without a server"
INSIDE = "one warm process, the same search"
ANNOUNCED = re.compile("searches of this user's shell are answered")


@contextmanager
def _serving(size: int) -> Iterator[None]:
    """A server that the commands of the block find, and no other one."""
    with tempfile.TemporaryDirectory(prefix="imgsearch-") as place:
        os.environ.update({"XDG_RUNTIME_DIR": place, "TMPDIR": place, NO_SERVER: ""})
        server = subprocess.Popen(
            [*IMGSEARCH, "serve", "-i", str(instances.instance(size)), "--no-auth", "--port", "0", "--state", place],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stderr is not None
        try:
            if not any(ANNOUNCED.search(line) for line in server.stderr):
                raise RuntimeError("the server takes no searches of the shell")
            yield
        finally:
            server.terminate()
            server.communicate()


def _commands(size: int) -> dict[str, Sequence[str]]:
    search = [*IMGSEARCH, "search", "-i", str(instances.instance(size)), "--format", "json"]
    named = [*search, "--product-id", "p0000001", "--pic-name", "0.jpg"]
    return {
        START: [sys.executable, "-c", "pass"],
        ALONE: [*search, QUERY, "--no-server"],
        "search by picture, answered by a server": [*search, QUERY],
        "by an indexed picture, without a server": [*named, "--no-server"],
        "by an indexed picture, answered by a server": named,
    }


def main() -> None:
    size = min(SIZES)
    run([sys.executable, "-m", "benchmarks.instances", str(size)])
    seconds: dict[str, list[float]] = {}
    with _serving(size), Instance.open(instances.instance(size)) as instance, instance.searching() as searcher:
        commands = _commands(size)
        for number in range(ROUNDS + 1):
            taken = {name: run(command)[0] for name, command in commands.items()}
            begun = time.perf_counter()
            searcher.by_picture(QUERY)
            taken[INSIDE] = time.perf_counter() - begun
            if number:  # the first one loads networks and warms caches
                for name, value in taken.items():
                    seconds.setdefault(name, []).append(value)
    rows = [
        (name, 1000 * statistics.median(values), *(_ratio(values, seconds[base]) for base in (START, ALONE)))
        for name, values in seconds.items()
    ]
    columns = ("a new process", "p50 ms", "to Python's start", "to no server")
    show(f"Warm search, {size:,} items, medians of {ROUNDS}; ratios of runs next to each other", columns, rows)


def _ratio(values: Sequence[float], baseline: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(values, baseline, strict=True))


if __name__ == "__main__":
    main()
