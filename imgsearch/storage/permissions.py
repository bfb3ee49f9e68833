"""Who else on the machine may read or alter the files of an instance, by their modes.

An instance is made for its owner alone. Its owner may have opened it to others on purpose, or a copy or a backup may
have lost its modes, so this is told and neither refused nor changed.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imgsearch.storage.successor import home

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Exposure", "exposures"]

CLASSES: Final = {"the group": 3, "everybody": 0}
"""Whom a mode speaks of, and how far to the left its three bits are."""
READ: Final = 0o4
WRITE: Final = 0o2
ENTER: Final = 0o1


@dataclass(frozen=True, slots=True)
class Exposure:
    """A file, or the folder itself, that others can get at."""

    path: Path
    mode: int
    """Permission bits."""
    message: str
    """Who may do what with what, and what to do, on one line."""


def exposures(folder: Path) -> list[Exposure]:
    """What others may read or alter in an instance's folder; whether they get to that folder is not looked at.

    Empty where files have no such modes (Windows).

    Raises:
        OSError
    """
    if os.name == "nt":
        return []
    of_folder = stat.S_IMODE(folder.stat().st_mode)
    found = [_exposure(folder, of_folder, of_folder, "replace what is in", WRITE | ENTER, folder)]
    for path in sorted(folder.iterdir()):
        try:
            status = path.lstat()
        except FileNotFoundError:  # a writer's, gone since
            continue
        if stat.S_ISREG(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            found.append(
                _exposure(path, mode, of_folder, "alter", WRITE, folder)
                or _exposure(path, mode, of_folder, "read", READ, folder)
            )
    if home(folder).is_dir():
        found += exposures(home(folder))
    return [one for one in found if one is not None]


def _exposure(path: Path, mode: int, of_folder: int, what: str, bits: int, folder: Path) -> Exposure | None:
    who = [
        name
        for name, shift in CLASSES.items()
        if (mode >> shift) & bits == bits and (of_folder >> shift) & ENTER  # else they do not get to it
    ]
    if not who:
        return None
    message = f"{' and '.join(who)} may {what} {path} (mode {mode:04o}): 'chmod -R go= {folder}' keeps others out"
    return Exposure(path, mode, message)
