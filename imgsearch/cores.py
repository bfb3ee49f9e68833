"""How many cores there are to calculate on: of those this process may run on, as many as its quota pays for."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["available_cores"]

PROCESS: Final = Path("/proc/self")
V2: Final = "cgroup2"
V1: Final = "cgroup"


def available_cores() -> int:
    """Cores this process may use, at least 1; every default number of threads comes from here.

    A container's limit (``docker run --cpus 2``, Kubernetes' ``limits.cpu``) is a quota of time on all cores: more
    threads than it pays for are stopped together for the rest of each period.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota(PROCESS))))


def _quota(process: Path) -> float:
    """Cores that the control groups of a process pay for, all groups above it included; infinite without a limit.

    Args:
        process: its folder in ``/proc``.
    """
    smallest = math.inf
    for folder in _groups(process):
        for read in (_quota_v2, _quota_v1):
            with suppress(OSError, ValueError, ZeroDivisionError):
                smallest = min(smallest, read(folder))
    return smallest


def _quota_v2(folder: Path) -> float:
    quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    return int(quota) / int(period)  # "max" is no number, and no limit


def _quota_v1(folder: Path) -> float:
    quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
    if quota <= 0:
        return math.inf
    return quota / int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))


def _groups(process: Path) -> Iterator[Path]:
    """The folders of the control groups that limit a process, as far as they can be seen from here."""
    try:
        memberships = (process / "cgroup").read_text(errors="surrogateescape").splitlines()
        mounts = (process / "mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:  # another system than Linux
        return
    # Lines "hierarchy:controllers:path"; without controllers it is version 2.
    paths = {
        V2 if not controllers else V1: path
        for _, controllers, path in (line.split(":", 2) for line in memberships if line.count(":") >= 2)
        if not controllers or "cpu" in controllers.split(",")
    }
    for line in mounts:
        # As proc_pid_mountinfo(5) tells: id, parent, device, root, point, options, a dash, type, source, more options.
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] not in paths:
            continue
        if kinds[0] == V1 and "cpu" not in kinds[2].split(","):
            continue
        root, point = (field.encode().decode("unicode_escape") for field in fields[3:5])
        yield from _chain(Path(point), root, paths[kinds[0]])


def _chain(point: Path, root: str, path: str) -> Iterator[Path]:
    """From a group up to the root of the mount that shows it; of a group elsewhere, that root alone."""
    yield point
    try:
        parts = PurePosixPath(path).relative_to(root).parts
    except ValueError:  # a namespace of its own tells paths of its own
        return
    for part in parts:
        if part == "..":
            return
        point /= part
        yield point
