"""Walking folders: which files are pictures, and what is passed over.

Patterns are those of ``fnmatch``, matched against names and against paths below the given folder: enough to leave out
folders and kinds of files, without another dependency.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import translate
from typing import TYPE_CHECKING, Final, TypeAlias

from imgsearch.errors import UnreadableSource
from imgsearch.types import Refused
from imgsearch.values import nfc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["PICTURE_SUFFIXES", "PassedOver", "Reason", "Selection", "printable", "walk"]

PICTURE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".avif", ".heic", ".heif", ".hif"}
)
"""Suffixes of pictures in folders; a file given by name is always tried."""

UNSUPPORTED_SUFFIXES: Final = frozenset(
    {
        *(".ai", ".arw", ".cr2", ".cr3", ".crw", ".dcm", ".dds", ".dng", ".eps", ".erf", ".exr"),
        *(".hdr", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl", ".jxr", ".kdc", ".mrw"),
        *(".nef", ".nrw", ".orf", ".pcx", ".pef", ".psb", ".psd", ".raf", ".raw", ".rw2", ".sr2", ".srf"),
        *(".srw", ".svg", ".svgz", ".tga", ".wdp", ".x3f", ".xcf"),
    }
)
"""Suffixes of picture formats that no decoder here reads, as far as they are not among PICTURE_SUFFIXES."""

SYSTEM_FOLDERS: Final = frozenset(
    {
        *("$recycle.bin", "#recycle", "@recycle", "lost+found", "system volume information"),
        *("#snapshot", "@recently-snapshot", ".snapshot", ".snapshots", ".zfs"),
        *("@eadir", "__macosx"),
    }
)
"""Folders, in lower case, in which systems keep deleted files, snapshots, thumbnails and copies of attributes."""
TRASH_PREFIX: Final = ".trash"
SYSTEM_FILES: Final = ("._", ".DS_Store")
"""How the names of files begin in which macOS keeps attributes; they may end like those of pictures."""

SNIFFED_BYTES: Final = 16
SIGNATURES: Final = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
PORTABLE_ANYMAP: Final = re.compile(rb"P[1-6]\s")
HEIF_BRANDS: Final = frozenset({b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1"})

PRINTED_BYTES: Final = 8192
"""Maximum length at which a path is printed; longer ones are invalid."""


class Reason(StrEnum):
    """Why something in a folder is passed over."""

    NOT_A_PICTURE = "NotAPicture"
    UNSUPPORTED_FORMAT = "UnsupportedFormat"
    """A picture, by its suffix or first bytes, in a format that cannot be decoded."""
    HIDDEN = "Hidden"
    EXCLUDED = "Excluded"
    LINKED_FOLDER = "LinkedFolder"
    SYSTEM_FOLDER = "SystemFolder"


Skip: TypeAlias = "Callable[[str, Reason], object]"
"""Told the path of what is passed over, and why."""


@dataclass
class PassedOver:
    """Counts what is passed over; a folder counts once, as nothing in it is looked at."""

    tell: Skip | None = None
    """Called for each."""
    counts: Counter[Reason] = field(default_factory=Counter)

    def __call__(self, path: str, reason: Reason) -> None:
        """Count one."""
        self.counts[reason] += 1
        if self.tell is not None:
            self.tell(path, reason)

    def in_words(self) -> str:
        """The numbers by reason; empty if there are none."""
        return ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))

    def document(self) -> dict[str, int]:
        """The numbers by reason."""
        return {str(reason): count for reason, count in sorted(self.counts.items())}


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a folder is taken.

    Args:
        include_hidden: also files and folders whose names begin with a dot.
        exclude: patterns. One without a slash matches names at any depth; one with a slash the path below the given
            folder, where ``*`` matches slashes too. A slash at the end: folders only.
        follow_links: enter links to folders, each folder once.
    """

    include_hidden: bool = False
    exclude: tuple[str, ...] = ()
    follow_links: bool = False


def walk(folder: str, selection: Selection, skip: Skip = lambda _path, _reason: None) -> Iterator[str | Refused]:
    """Names of the pictures below a folder, relative to it and with ``/``, sorted; folders that cannot be read.

    Without ``follow_links``, links to folders are not entered. With it, a link is not entered if it leads to a folder
    around it or to one that another link led to before, so links in circles end.
    """
    is_excluded = _Exclusion(selection.exclude)
    trail = _Trail.of(folder) if selection.follow_links else None
    links: set[tuple[int, int]] = set()
    waiting: list[tuple[str, os.DirEntry[str] | None, _Trail | None]] = [("", None, trail)]  # folders can nest deeply
    while waiting:
        name, entry, trail = waiting.pop()
        path = folder
        if entry is not None:
            name, path = name + entry.name, entry.path
            if not entry.is_dir(follow_symlinks=False):
                if not _is_folder(entry):
                    if _is_picture(entry, skip):
                        yield name
                    continue
                if trail is None:
                    skip(path, Reason.LINKED_FOLDER)
                    continue
                identity = _identity(path)
                if identity in links or trail.leads_through(identity):
                    skip(path, Reason.LINKED_FOLDER)
                    continue
                links.add(identity)
            name += "/"
            trail = None if trail is None else _Trail(_identity(path), trail)
        try:
            with os.scandir(path) as listing:
                found = [item for item in listing if _is_wanted(item, name, selection, is_excluded, skip)]
        except OSError as error:
            yield Refused(printable(path), UnreadableSource(f"the folder cannot be read: {error.strerror}"))
            continue
        found.sort(key=_name, reverse=True)
        waiting.extend((name, item, trail) for item in found)


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_wanted(entry: os.DirEntry[str], above: str, selection: Selection, is_excluded: _Exclusion, skip: Skip) -> bool:
    """Whether a name allows to look at it; tells why not."""
    name = entry.name
    if name[0] in ".@#$_lLsS" and _is_of_system(name) and _is_folder(entry):
        skip(entry.path, Reason.SYSTEM_FOLDER)
    elif name[0] == "." and not selection.include_hidden:
        skip(entry.path, Reason.HIDDEN)
    elif name[0] == "." and name.startswith(SYSTEM_FILES) and not _is_folder(entry):
        skip(entry.path, Reason.NOT_A_PICTURE)
    elif is_excluded.patterns and is_excluded(name, above + name, is_folder=_is_folder(entry)):
        skip(entry.path, Reason.EXCLUDED)
    else:
        return True
    return False


def _is_of_system(name: str) -> bool:
    lower = name.lower()
    return lower in SYSTEM_FOLDERS or lower.startswith(TRASH_PREFIX)


class _Exclusion:
    """Whether a pattern matches."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self.patterns = [
            (re.compile(translate(nfc(pattern).strip("/"))), "/" in pattern.rstrip("/"), pattern.endswith("/"))
            for pattern in patterns
        ]
        """Expression, whether it is for paths, whether it is for folders only."""

    def __call__(self, name: str, path: str, *, is_folder: bool) -> bool:
        name, path = nfc(name), nfc(path)
        return any(
            (is_folder or not only_folders) and expression.match(path if of_path else name)
            for expression, of_path, only_folders in self.patterns
        )


@dataclass(frozen=True, slots=True)
class _Trail:
    """A folder and those around it, by device and inode."""

    identity: tuple[int, int]
    above: _Trail | None = None

    @classmethod
    def of(cls, folder: str) -> _Trail:
        return cls(_identity(folder))

    def leads_through(self, identity: tuple[int, int]) -> bool:
        step: _Trail | None = self
        while step is not None:
            if step.identity == identity:
                return True
            step = step.above
        return False


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116  # a Path for each entry takes longer than the walk
    except OSError:
        return (-1, -1)  # scanning it tells why
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; broken and circular links are not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_picture(entry: os.DirEntry[str], skip: Skip) -> bool:
    """Whether a file is taken: by its suffix, or by its first bytes if it has no ordinary suffix."""
    name = entry.name
    dot = name.rfind(".")
    suffix = name[dot:].lower() if dot > 0 else ""
    if suffix in PICTURE_SUFFIXES:
        return True
    if suffix in UNSUPPORTED_SUFFIXES:
        skip(entry.path, Reason.UNSUPPORTED_FORMAT)
        return False
    is_ordinary = (suffix[1:].isalnum() and not suffix[1:].isdigit()) or name.endswith("~")
    reason = Reason.NOT_A_PICTURE if is_ordinary else _verdict_of_content(entry)
    if reason is not None:
        skip(entry.path, reason)
    return reason is None


def _verdict_of_content(entry: os.DirEntry[str]) -> Reason | None:
    """Why a file is no picture that can be decoded, by its first bytes; None if it is one."""
    try:
        if not entry.is_file():  # opening a pipe or a device could block or have effects
            return Reason.NOT_A_PICTURE
        with open(entry.path, "rb", buffering=0) as file:
            head = file.read(SNIFFED_BYTES)
    except OSError:
        return Reason.NOT_A_PICTURE
    if head.startswith(SIGNATURES) or PORTABLE_ANYMAP.match(head):
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return None
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return None
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        suffix = ".avif" if head[8:11] == b"avi" else ".heic"
        return None if suffix in PICTURE_SUFFIXES else Reason.UNSUPPORTED_FORMAT
    return Reason.NOT_A_PICTURE


def printable(path: str | os.PathLike[str]) -> str:
    """A path for messages: valid text of limited length."""
    text = os.fsencode(path)[:PRINTED_BYTES].decode("utf-8", "backslashreplace")
    return text if len(os.fspath(path)) <= PRINTED_BYTES else f"{text}…"
