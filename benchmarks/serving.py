"""The HTTP server under load, beside the same searches in one warm process; additions while searches go on.

Clients share the machine with the server, so they are as lean as they can be: bodies are made in advance, and no
signature is checked. The baseline of each row is what its name says: threads that call the Python API, or ``add``.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import psutil

from benchmarks.instances import instance
from benchmarks.photos import make_photos
from benchmarks.process import IMGSEARCH, run
from benchmarks.setting import ROOT, SIZES, show
from imgsearch import Instance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CLIENTS = 16
SECONDS = float(os.environ.get("IMGSEARCH_BENCHMARK_SECONDS", "60"))
ROUNDS = 3
PHOTOS = 300
ADDING_CLIENTS = 12
ADDRESS = re.compile(r"listening on http://([\d.]+):(\d+)")
VERSION = "2020-12-14"


@dataclass(frozen=True)
class Load:
    """What a number of clients saw."""

    seconds: float
    latencies: list[float]

    @property
    def per_second(self) -> float:
        """Answers."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: int) -> float:
        """Milliseconds."""
        return 1000 * statistics.quantiles(self.latencies, n=100, method="inclusive")[share - 1]


@contextmanager
def served(folder: Path, state: Path) -> Iterator[tuple[str, int, int]]:
    """A server in a process of its own: host, port and process id."""
    command = [*IMGSEARCH, "serve", f"shop={folder}", "--no-auth", "--port", "0", "--state", str(state)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = None
        while found is None:
            found = ADDRESS.search(process.stderr.readline())
        try:
            yield found[1], int(found[2]), process.pid
        finally:
            process.terminate()


def body_of(action: str, **fields: str) -> tuple[str, bytes]:
    """Path and form of a call."""
    return f"/?Action={action}&Version={VERSION}", urlencode({"InstanceName": "shop", **fields}).encode()


def caller(host: str, port: int, bodies: Sequence[tuple[str, bytes]]) -> Callable[[int], None]:
    """Sends one request of a client after the other, over one connection."""
    connection = http.client.HTTPConnection(host, port, timeout=120)

    def call(number: int) -> None:
        path, body = bodies[number % len(bodies)]
        connection.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = json.loads(connection.getresponse().read())
        if not answer.get("Success"):
            raise RuntimeError(answer)

    return call


def under_load(make: Callable[[], Callable[[int], object]], clients: int, seconds: float, most: int = 10**9) -> Load:
    """Let clients ask as fast as they get answers, for some seconds or until ``most`` questions are asked."""
    latencies: list[float] = []
    numbers = iter(range(most))
    end = time.perf_counter() + seconds

    def work() -> None:
        call = make()
        for number in numbers:
            begun = time.perf_counter()
            if begun > end:
                return
            call(number)
            latencies.append(time.perf_counter() - begun)

    threads = [Thread(target=work) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(time.perf_counter() - begun, latencies)


def _row(name: str, load: Load, baseline: Load, memory: str = "") -> tuple[object, ...]:
    shares = (load.percentile(50), load.percentile(95), load.percentile(99))
    return (name, load.per_second, load.per_second / baseline.per_second, *shares, memory)


def _searches(size: int, queries: list[bytes], state: Path) -> list[tuple[object, ...]]:
    """Both in turn, so that a noisy moment hits both."""
    folder = instance(size)
    bodies = [body_of("SearchImageByPic", PicContent=base64.b64encode(query).decode()) for query in queries]
    rows = []
    with (
        Instance.open(folder) as opened,
        opened.searching(workers=None) as searcher,
        served(folder, state) as (host, port, pid),
    ):
        ways: dict[str, Callable[[], Callable[[int], object]]] = {
            "in one process": lambda: lambda number: searcher.by_picture(queries[number % len(queries)]),
            "over HTTP": lambda: caller(host, port, bodies),
        }
        for make in ways.values():
            under_load(make, CLIENTS, 60, 2 * CLIENTS)
        memory = [psutil.Process(pid).memory_info().rss / 2**20]
        for clients in (1, CLIENTS):
            loads: dict[str, list[Load]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, make in ways.items():
                    loads[name].append(under_load(make, clients, SECONDS / ROUNDS))
            memory.append(psutil.Process(pid).memory_info().rss / 2**20)
            own, http_load = map(_together, loads.values())
            rows.append(_row(f"{size:,}, {clients} in one process", own, own))
            rows.append(_row(f"{size:,}, {clients} over HTTP", http_load, own, f"{memory[-2]:.0f} → {memory[-1]:.0f}"))
    return rows


def _together(loads: list[Load]) -> Load:
    return Load(sum(load.seconds for load in loads), [one for load in loads for one in load.latencies])


def _additions(queries: list[bytes], state: Path) -> list[tuple[object, ...]]:
    with tempfile.TemporaryDirectory() as temporary:
        photos, shop = Path(temporary, "photos"), Path(temporary, "shop")
        make_photos(photos, PHOTOS)
        add = [*IMGSEARCH, "add", str(photos), "--quiet", "-i"]
        run([*add, str(Path(temporary, "first"))])  # prepares what is prepared once
        seconds, _ = run([*add, str(shop)])
        shutil.rmtree(shop)
        Instance.create(shop)
        calls = [
            body_of(
                "AddImage",
                ProductId=path.stem,
                PicName=path.name,
                PicContent=base64.b64encode(path.read_bytes()).decode(),
            )
            for path in sorted(photos.iterdir())
        ]
        search = [body_of("SearchImageByPic", PicContent=base64.b64encode(queries[0]).decode())]
        with served(shop, state) as (host, port, _):
            caller(host, port, search)(0)
            caller(host, port, calls)(0)
            searching = True

            def searches() -> None:
                ask = caller(host, port, search)
                while searching:
                    ask(0)
                    time.sleep(1)

            beside = Thread(target=searches)
            beside.start()
            load = under_load(lambda: caller(host, port, calls), ADDING_CLIENTS, 600, PHOTOS)
            searching = False
            beside.join()
    own = Load(seconds, [seconds / PHOTOS] * PHOTOS)
    return [
        ("add, from the shell", own.per_second, 1.0, "", "", "", ""),
        _row(f"AddImage by {ADDING_CLIENTS}, a search a second", load, own),
    ]


def main() -> None:
    queries = [path.read_bytes() for path in sorted((ROOT / "sample_data" / "queries").iterdir())]
    with tempfile.TemporaryDirectory() as state:
        rows = [row for size in SIZES for row in _searches(size, queries, Path(state))]
        rows += _additions(queries, Path(state))
    columns = ("clients", "answers/s", "ratio", "p50 ms", "p95 ms", "p99 ms", "server MB")
    show("Searches and additions over HTTP", columns, rows)
