"""Cold search: a new process that answers one query, against the bare imports of what it stands on."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.setting import ROOT, show

ROUNDS = 11
BARE = "import numpy, faiss, openvino, typer"


def _seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    imgsearch = [sys.executable, "-m", "imgsearch"]
    with tempfile.TemporaryDirectory() as temporary:
        target = ["-i", str(Path(temporary) / "instance")]
        subprocess.run(
            [*imgsearch, "add", *target, "--manifest", str(ROOT / "sample_data" / "increment.meta"), "-q"], check=True
        )
        query = str(ROOT / "sample_data" / "queries" / "mug-red.jpg")
        commands = {
            BARE: [sys.executable, "-c", BARE],
            "search by picture": [*imgsearch, "search", *target, query],
            "search by indexed picture": [
                *imgsearch, "search", *target, "--product-id", "mug-red", "--pic-name", "catalogue/mug-red/front.jpg",
            ],
            "info": [*imgsearch, "info", *target],
            "--help": [*imgsearch, "--help"],
        }  # fmt: skip
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(ROUNDS + 1):
            for name, command in commands.items():  # side by side, so that a noisy moment hits all
                taken = _seconds(command)
                if number:  # the first round warms the caches
                    seconds[name].append(taken)
    bare = seconds[BARE]
    rows = [
        (name, statistics.median(taken), statistics.median(a / b for a, b in zip(taken, bare, strict=True)))
        for name, taken in seconds.items()
    ]
    show(
        f"New process on the sample instance, medians of {ROUNDS}", ("command", "seconds", "ratio to the imports"), rows
    )


if __name__ == "__main__":
    main()
