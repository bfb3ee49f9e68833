"""What belongs to imgsearch's own processes only: a program that uses the library keeps its settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgsearch.own_process import THREADS_OF_BLAS

TASKS = "/proc/self/task"

MULTIPLIED = f"""
import os, sys
from imgsearch import own_process
if sys.argv[1] == "own":
    own_process.claim([])
import numpy as np
np.ones((600, 600)) @ np.ones((600, 600))
print(len(os.listdir({TASKS!r})))
"""
"""Prints the number of threads after a product for which a BLAS would use several."""


def threads(kind: str, **environment: str) -> int:
    """Of a process of some kind."""
    others = {name: value for name, value in os.environ.items() if name not in {THREADS_OF_BLAS, "OMP_NUM_THREADS"}}
    words = [sys.executable, "-c", MULTIPLIED, kind]
    return int(subprocess.run(words, env=others | environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not Path(TASKS).is_dir(), reason="the system does not tell a process's threads")
def test_the_blas_of_an_own_process_is_single_threaded_unless_told_otherwise() -> None:
    """Its threads would busy-wait for work."""
    assert threads("own") == 1
    alone = threads("host")
    assert threads("own", **{THREADS_OF_BLAS: "2"}) == threads("host", **{THREADS_OF_BLAS: "2"})
    if len(os.sched_getaffinity(0)) > 1:
        assert alone > 1


STARTED = """
import gc
from imgsearch import own_process
own_process.end_quick_start()
seen = [(gc.isenabled(), gc.get_freeze_count())]
own_process.begin_quick_start()
seen.append((gc.isenabled(), gc.get_freeze_count()))
own_process.end_quick_start()
seen.append((gc.isenabled(), gc.get_freeze_count() > 1000))
print(seen)
"""


def test_a_quick_start_collects_no_garbage_until_it_ends() -> None:
    """Afterwards, garbage is collected again, except among earlier objects. Without one, nothing changes."""
    done = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True)
    assert done.stdout == "[(True, 0), (False, 0), (True, True)]\n"


COLLECTED = """
import gc
from imgsearch import own_process
before = gc.get_threshold()
own_process.collect_rarely()
after = gc.get_threshold()
print(after[0] == own_process.MANY_OBJECTS > 10 * before[0], after[1:] == before[1:])
print(gc.isenabled(), gc.get_freeze_count() > 1000)
"""


def test_garbage_is_collected_rarely_but_collected() -> None:
    done = subprocess.run([sys.executable, "-c", COLLECTED], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\nTrue True\n"
