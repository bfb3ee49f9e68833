"""What a machine could at best do, measured in the run whose figures are held against it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BYTES = 1 << 29
"""Far beyond every cache."""
ROUNDS = 5


def memory_rate() -> float:
    """Bytes per second at which all cores together read memory once, the best of some rounds."""
    data = np.ones(BYTES // 4, np.float32)
    cores = len(os.sched_getaffinity(0))
    best = 0.0
    with ThreadPoolExecutor(cores) as threads:
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            list(threads.map(np.max, np.array_split(data, cores)))
            best = max(best, BYTES / (time.perf_counter() - begun))
    return best
