"""Imports from OSS: speed beside ``add`` from local files, and memory where nothing has changed.

The storage is the one of the tests, in a process of its own on the same machine, so that what it takes of the
processor is taken from the import. It waits 20 ms before each answer, as a region nearby does. Lines are looked up in
blocks of 4,096, which 1,000 do not fill; what grows from there on is the page cache of SQLite, to 64 MiB at most.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from fastcrc import crc64

from benchmarks.memory import KIBIBYTES_PER_MEBIBYTE, PROGRAM
from benchmarks.photos import SIZE, make_photos
from benchmarks.setting import show
from tests.oss_server import OssServer
from tests.oss_shop import ADDRESS, BUCKET, FOLDER, put_alike, remember_alike

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

LATENCY_SECONDS = 0.02
PICTURES = 1000
ROUNDS = 3
UNCHANGED = (1_000, 10_000, 100_000)


def _serve(connection: Connection, folder: Path | None, alike: int, latency: float) -> None:
    """Serve a folder, or so many objects that are all alike, until told to stop; answers with what was asked for."""
    server = OssServer()
    server.latency = latency
    server.checks_signatures = False  # the hosted storage checks them on its own machines
    if folder is not None:
        for path in folder.iterdir():
            server.put(BUCKET, f"{FOLDER}/{path.name}", path.read_bytes())
    put_alike(server, alike)
    for stored in server.buckets[BUCKET].values():
        stored.crc = crc64.xz(stored.data)
    with server.running():
        connection.send(server.url)
        while connection.recv() == "counts":
            connection.send({name: server.counts[name] for name in ("GET object", "HEAD object", "list")})


@contextmanager
def _storage(folder: Path | None = None, *, alike: int = 0, latency: float = LATENCY_SECONDS) -> Iterator[Connection]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, folder, alike, latency))
    process.start()
    try:
        os.environ |= {"OSS_ENDPOINT": ours.recv(), "OSS_ACCESS_KEY_ID": "key", "OSS_ACCESS_KEY_SECRET": "secret"}
        yield ours
    finally:
        ours.send("stop")
        process.join()


def _run(*arguments: object) -> tuple[dict[str, int], float]:
    """The summary of one command, and its peak resident memory in MiB."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments), "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("peak ")]
    return json.loads(result.stdout), int(line.removeprefix("peak ")) / KIBIBYTES_PER_MEBIBYTE


def _speed(temporary: Path) -> None:
    folder = temporary / "photos"
    make_photos(folder, PICTURES)
    names = sorted(path.name for path in folder.iterdir())
    lines = [json.dumps({"OperationType": "ADD", "ProductId": name, "PicName": name}) for name in names]
    (folder / "increment.meta").write_text("\n".join(lines))
    speeds: dict[str, list[float]] = {"add --manifest": [], "oss-import, 20 ms a request": []}
    with _storage(folder):
        for number in range(-1, ROUNDS):  # the first round warms up
            for name, command in zip(
                speeds, (["add", "--manifest", folder / "increment.meta"], ["oss-import", ADDRESS]), strict=True
            ):
                summary, _ = _run(*command, "-i", temporary / f"{name}-{number}")
                if summary["Added"] != PICTURES:
                    raise RuntimeError("not every picture was added")
                if number >= 0:
                    speeds[name].append(PICTURES / summary["Seconds"])
    first, *_ = speeds.values()
    rows = [
        (name, statistics.median(values), statistics.median(a / b for a, b in zip(values, first, strict=True)))
        for name, values in speeds.items()
    ]
    columns = ("what", "pictures/s", "ratio to add")
    show(f"Importing {PICTURES} JPEGs of {SIZE[0]} x {SIZE[1]}, medians of {ROUNDS}", columns, rows)


def _memory(temporary: Path) -> None:
    rows: list[tuple[object, ...]] = []
    for count in UNCHANGED:
        instance = temporary / f"unchanged-{count}"
        with _storage(alike=count) as connection:
            remember_alike(instance, count, os.environ["OSS_ENDPOINT"])
            connection.send("counts")
            before = connection.recv()
            summary, peak = _run("oss-import", ADDRESS, "-i", instance)
            if summary["Unchanged"] != count:
                raise RuntimeError("not every picture was unchanged")
            connection.send("counts")
            asked = {name: number - before[name] for name, number in connection.recv().items()}
        first = float(rows[0][1]) if rows else peak  # type: ignore[arg-type]
        rows.append((f"{count:,} unchanged lines", peak, peak / first, summary["Seconds"], *asked.values()))
    columns = ("what", "MiB", "ratio to the first", "seconds", "GET of objects", "HEAD", "listings")
    show("Peak resident memory of oss-import", columns, rows)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        _memory(Path(temporary))
        _speed(Path(temporary))


if __name__ == "__main__":
    main()
