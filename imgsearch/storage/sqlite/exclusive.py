"""Keeping everybody else out of a database, so that its files can be replaced.

Every connection in WAL mode holds SQLite's shared lock on the database file for as long as it is open
(https://sqlite.org/walformat.html). POSIX locks do not tell connections of one process apart, and closing a file ends
all locks that its process has on it, those of SQLite included. So a separate process takes the exclusive lock.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from imgsearch.errors import StorageUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["alone"]

ALONE: Final = b"1"
OTHERS: Final = b"0"
HOLD: Final = """
import fcntl, sys
file = open(sys.argv[1], "rb+")
try:
    # The bytes that SQLite locks and never writes: PENDING, RESERVED and 510 of SHARED.
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 512, 0x40000000)
except OSError:
    sys.stdout.write("0")
else:
    sys.stdout.write("1")
sys.stdout.flush()
sys.stdin.read()
"""


@contextmanager
def alone(database: Path) -> Iterator[bool]:
    """Keep all connections out of a database during a block.

    Args:
        database: its path; the caller has closed its own connections.

    Yields:
        Whether nobody else can open it; False if somebody has it open already.

    Raises:
        StorageUnwritable: it cannot be locked.
    """
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HOLD, os.fspath(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process; the lock ends with it
    ) as process:
        assert process.stdout is not None
        answer = process.stdout.read(1)
        if answer not in (ALONE, OTHERS):
            raise StorageUnwritable(f"{database} cannot be locked: check the permissions, and whether Python can start")
        yield answer == ALONE
