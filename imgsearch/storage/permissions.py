"""Which other users may read or modify an instance's files, by the file modes.

Instances are created for their owner only. The owner may have granted access on purpose, or a copy or backup may have
lost the modes, so this is reported and neither refused nor changed.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imgsearch.storage.successor import home

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Exposure", "exposures"]

CLASSES: Final = {"the group": 3, "everybody": 0}
"""User classes of a mode, and the shift of their three bits."""
READ: Final = 0o4
WRITE: Final = 0o2
ENTER: Final = 0o1


@dataclass(frozen=True, slots=True)
class Exposure:
    """A file, or the folder itself, that other users can access."""

    path: Path
    mode: int
    """Permission bits."""
    message: str
    """Who may do what, and how to prevent it, on one line."""


def exposures(folder: Path) -> list[Exposure]:
    """What others may read or modify in an instance's folder; modes of its parent folders are not checked.

    Empty where files have no such modes (Windows).

    Raises:
        OSError
    """
    if os.name == "nt":
        return []
    found = _exposures(folder)
    with suppress(FileNotFoundError, NotADirectoryError):  # no successor, or it became the instance just now
        found += _exposures(home(folder))
    return [one for one in found if one is not None]


def _exposures(folder: Path) -> list[Exposure | None]:
    of_folder = stat.S_IMODE(folder.stat().st_mode)
    found = [_exposure(folder, of_folder, of_folder, "replace files in", WRITE | ENTER, folder)]
    for path in sorted(folder.iterdir()):
        try:
            status = path.lstat()
        except FileNotFoundError:  # a writer removed it
            continue
        if stat.S_ISREG(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            found.append(
                _exposure(path, mode, of_folder, "modify", WRITE, folder)
                or _exposure(path, mode, of_folder, "read", READ, folder)
            )
    return found


def _exposure(path: Path, mode: int, of_folder: int, what: str, bits: int, folder: Path) -> Exposure | None:
    who = [
        name
        for name, shift in CLASSES.items()
        if (mode >> shift) & bits == bits and (of_folder >> shift) & ENTER  # else they cannot reach it
    ]
    if not who:
        return None
    message = f"{' and '.join(who)} may {what} {path} (mode {mode:04o}): 'chmod -R go= {folder}' keeps others out"
    return Exposure(path, mode, message)
