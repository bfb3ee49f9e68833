"""What ``add --shard`` costs: one process with all pictures against eight with a share each, in processor time.

All write to one instance in PostgreSQL, whose own processor time is left out. The shards run one after another, as
here they would have to share the cores that each of them has to itself on a machine of its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from benchmarks.photos import make_photos
from benchmarks.process import IMGSEARCH
from benchmarks.setting import show
from imgsearch import Instance
from tests import postgres_server

PICTURES = int(os.environ.get("IMGSEARCH_BENCHMARK_PICTURES", "1600"))
SHARDS = 8
ROUNDS = int(os.environ.get("IMGSEARCH_BENCHMARK_ROUNDS", "2"))


def _processor_seconds(url: str, *words: str) -> float:
    process = subprocess.Popen([*IMGSEARCH, "add", "-i", url, "-q", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"add failed with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    if not postgres_server.is_installed():
        print(postgres_server.MISSING)
        return
    server = postgres_server.shared_server()
    taken: dict[str, list[float]] = {"none": [], "one": [], "eight": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder, empty = Path(temporary) / "photos", Path(temporary) / "one"
        make_photos(folder, PICTURES)
        make_photos(empty, 1)
        for _ in range(ROUNDS):
            urls = [server.url() for _ in range(3)]
            for url in urls:
                Instance.create(url)
            taken["none"].append(_processor_seconds(urls[0], str(empty)))
            taken["one"].append(_processor_seconds(urls[1], str(folder)))
            shares = [_processor_seconds(urls[2], str(folder), "--shard", f"{n}/{SHARDS}") for n in range(SHARDS)]
            taken["eight"].append(sum(shares))
            with Instance.open(urls[1]) as one, Instance.open(urls[2]) as eight:
                if not one.count() == eight.count() == PICTURES:
                    raise RuntimeError(f"{one.count()} and {eight.count()} of {PICTURES} pictures were stored")
    one, eight, none = (statistics.median(taken[name]) for name in ("one", "eight", "none"))
    rows = [
        ("one process, one picture", none, ""),
        (f"one process, all {PICTURES:,}", one, 1.0),
        (f"{SHARDS} processes with a share each, in all", eight, statistics.median(
            b / a for a, b in zip(taken["one"], taken["eight"], strict=True)
        )),
        ("overhead of a further process", (eight - one) / (SHARDS - 1), ""),
    ]  # fmt: skip
    show("add --shard into one instance", ("", "processor seconds", "to one process"), rows)
    per_picture, start = (one - none) / PICTURES, (eight - one) / (SHARDS - 1)
    print(f"A share of {19 * start / per_picture:,.0f} pictures or more keeps 0.95 of the rate.")


if __name__ == "__main__":
    main()
