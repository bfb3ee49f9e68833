"""Commands in processes of their own: how long they take, and how much memory they hold."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IMGSEARCH = [sys.executable, "-m", "imgsearch"]
BARE = "import numpy, faiss, openvino, typer"
BARE_IMPORTS = [sys.executable, "-c", BARE]
"""What a search cannot do without; ratios are to this."""


@dataclass
class Runs:
    """What was seen of one command, run after run."""

    seconds: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)

    def ratio(self, baseline: Runs) -> float:
        """Median of the ratios of runs that stood next to each other."""
        return statistics.median(a / b for a, b in zip(self.seconds, baseline.seconds, strict=True))

    @property
    def median(self) -> float:
        """Of the seconds."""
        return statistics.median(self.seconds)

    @property
    def peak(self) -> float:
        """Median of the largest resident memory, in MB."""
        return statistics.median(self.peak_mb)


def run(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of one command, and its largest resident memory in MB (2**20 bytes).

    Raises:
        RuntimeError: it failed.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with status {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def side_by_side(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, Runs]:
    """Run all in turn, round after round, so that a noisy moment hits all; the first round warms the caches."""
    runs = {name: Runs() for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            seconds, peak = run(command)
            if number:
                runs[name].seconds.append(seconds)
                runs[name].peak_mb.append(peak)
    return runs
