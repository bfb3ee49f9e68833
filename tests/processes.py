"""Looking at the processes that a process has started, in Linux's /proc."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

__all__ = ["Watch", "decoders_of", "family", "is_running"]

KIBIBYTE: Final = 1024


def family(pid: int) -> set[int]:
    """A process and all that come from it; what ends meanwhile is left out."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def decoders_of(pid: int) -> set[int]:
    """The processes that decode for a process."""
    found = set()
    for child in family(pid) - {pid}:
        try:
            if "imgsearch.vision.decoder_worker" in Path(f"/proc/{child}/cmdline").read_text():
                found.add(child)
        except OSError:  # it has ended
            continue
    return found


def is_running(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has asked for its status yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Watch:
    """Notes how much memory each process of a family has had at most, until the end of the block."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = Event()
        self._thread = Thread(target=self._look)
        self.peaks: dict[int, int] = {}
        """Bytes that were resident, of each process id."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            for pid in family(self._pid):
                try:
                    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                except OSError:
                    continue
                if found:
                    self.peaks[pid] = max(self.peaks.get(pid, 0), int(found[1]) * KIBIBYTE)
