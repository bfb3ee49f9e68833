"""Files that targets hand to parsers that open them by path; in memory where the system has such a folder."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["folder", "replaced"]

IN_MEMORY = Path("/dev/shm")


def folder() -> Path:
    """A new one, which goes with the process; readable by its owner only."""
    made = Path(tempfile.mkdtemp(prefix="imgsearch-fuzz-", dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def replaced(path: Path, data: bytes) -> Path:
    """The path, with a new file there: an old one may still be mapped."""
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_bytes(data)
    return path
