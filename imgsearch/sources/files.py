"""Pictures in the file system: single files, folders, lists of paths."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from imgsearch.errors import ImgsearchError, PictureTooLarge, UnreadableSource
from imgsearch.types import AddPicture, Content, Refused
from imgsearch.values import Attributes, Key, Location, PictureOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "PICTURE_SUFFIXES",
    "FilePicture",
    "FileRequest",
    "file_operation",
    "find_pictures",
    "is_folder",
    "operations",
    "pictures_under",
]

PICTURE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
"""Suffixes of pictures in folders; a file given by name is always tried."""

SKIPPED_FOLDERS: Final = frozenset({"@eaDir", "__MACOSX"})
"""Folders in which NAS systems and archivers keep thumbnails and copies of file attributes."""

PRINTED_BYTES: Final = 8192
"""Maximum length at which a path is printed; longer ones are invalid."""

RACY_NANOSECONDS: Final = 2 * 10**9
"""A file changed this recently could change again without a change of its times, so it gets no token."""


@dataclass(frozen=True, slots=True, init=False)
class FilePicture:
    """One file.

    Args:
        path: of the file.
    """

    path: Path

    def __init__(self, path: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "path", Path(path))

    def token(self) -> bytes | None:
        """A digest of device, inode, size and change times, as backup programs use; None if just written."""
        try:
            return _token(self.path.stat())
        except (OSError, ValueError):  # a NUL inside of the name
            return None

    def read(self, max_bytes: int) -> Content:
        """Return the whole file.

        Raises:
            PictureTooLarge: it has ``max_bytes`` or more.
            UnreadableSource: it is missing, not a regular file, or forbidden.
        """
        try:
            # Non-blocking: opening a pipe without a writer would wait forever.
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
            with open(descriptor, "rb") as file:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    raise UnreadableSource("it is not a regular file")
                if before.st_size >= max_bytes:
                    raise PictureTooLarge.of(before.st_size, max_bytes)
                data = file.read(max_bytes)
                token = _token(os.fstat(descriptor))
        except OSError as error:
            raise UnreadableSource(f"the file cannot be read: {error.strerror}") from None
        except ValueError:  # a NUL inside of the name
            raise UnreadableSource("there is no such file") from None
        if len(data) >= max_bytes:
            raise PictureTooLarge.of(len(data), max_bytes)
        return Content(data, token if token == _token(before) else None)


def _token(status: os.stat_result) -> bytes | None:
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    if time.time_ns() - changed < RACY_NANOSECONDS:
        return None
    facts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).digest()


@dataclass(frozen=True, slots=True)
class FileRequest:
    """The options of ``add PATH…``: how keys are derived, and what applies to every picture."""

    product_id: str | None = None
    pic_name: str | None = None
    product_from: Literal["name", "parent"] = "name"
    options: PictureOptions = PictureOptions()
    attributes: Attributes = Attributes()
    include_hidden: bool = False

    def key(self, path: Path, name: str) -> Key:
        """ProductId and PicName of a file.

        Args:
            path: of the file.
            name: its path relative to the given folder, with ``/``; the file name if the file itself was given.

        Raises:
            InvalidValue
        """
        if self.product_id is not None:
            product_id = self.product_id
        elif self.product_from == "parent":
            product_id = path.parent.resolve().name
        else:
            product_id = name.removesuffix(path.suffix)
        return Key(product_id, self.pic_name if self.pic_name is not None else name)


def operations(paths: Iterable[Path], request: FileRequest) -> Iterator[AddPicture | Refused]:
    """One operation for every picture under the paths, in a stable order."""
    for path in paths:
        problem = _problem(path)
        if problem is not None:
            yield Refused(_printable(path), problem)
        elif path.is_dir():
            root = str(path.resolve())
            for item in _walk(path, request.include_hidden):
                yield item if isinstance(item, Refused) else file_operation(item, _relative(item, path), root, request)
        else:
            yield file_operation(path, path.name, str(path.parent.resolve()), request)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False if it cannot be accessed, which reading it will report."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _problem(path: Path) -> UnreadableSource | None:
    """Why a given path cannot be used; None if it can."""
    try:
        path.stat()
    except FileNotFoundError:
        return UnreadableSource("there is no such file or folder")
    except OSError as error:
        return UnreadableSource(f"the file cannot be read: {error.strerror}")
    except ValueError:  # a NUL inside
        return UnreadableSource("there is no such file or folder")
    return None


def file_operation(path: Path, name: str, root: str, request: FileRequest) -> AddPicture | Refused:
    """The operation for one file.

    Args:
        path: of the file.
        name: its path relative to the folder that was named; its file name if it was named itself.
        root: that folder, absolute.
        request: what goes with it.
    """
    try:
        key = request.key(path, name)
        _check_location(root, name)
    except ImgsearchError as error:
        return Refused(_printable(path), error)
    location = Location(root, None if key.pic_name == name else name)
    return AddPicture(str(path), key, FilePicture(path), request.options, request.attributes, location)


def _check_location(root: str, name: str) -> None:
    for what, value in (("folder", root), ("file", name)):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UnreadableSource(f"the {what}'s name is not valid UTF-8; rename it") from None


def _printable(path: Path) -> str:
    text = os.fsencode(path)[:PRINTED_BYTES].decode("utf-8", "backslashreplace")
    return text if len(os.fspath(path)) <= PRINTED_BYTES else f"{text}…"


def find_pictures(paths: Iterable[Path], *, include_hidden: bool = False) -> Iterator[Path]:
    """All files that ``operations`` would try, without reading them."""
    for path in paths:
        if _problem(path) is None and path.is_dir():
            yield from (item for item in _walk(path, include_hidden) if isinstance(item, Path))
        else:
            yield path


def pictures_under(path: Path) -> Iterator[Path | Refused]:
    """Query pictures under a given path, or why there are none; yields at least one value."""
    if _problem(path) is not None or not path.is_dir():
        yield path
        return
    found = False
    for item in _walk(path, include_hidden=False):
        found = True
        yield item
    if not found:
        reason = "there are no pictures in this folder: hidden files and files without a picture suffix are skipped"
        yield Refused(_printable(path), UnreadableSource(reason))


def _walk(folder: Path, include_hidden: bool) -> Iterator[Path | Refused]:
    """Pictures below a folder, sorted; does not follow links to folders, which prevents cycles."""
    waiting: list[tuple[Path, os.DirEntry[str] | None]] = [(folder, None)]  # no recursion: folders can nest deeply
    while waiting:
        path, entry = waiting.pop()
        if entry is not None:
            path /= entry.name
            if not entry.is_dir(follow_symlinks=False):
                if os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES and not _is_folder(entry):
                    yield path
                continue
        try:
            with os.scandir(path) as listing:
                found = [item for item in listing if include_hidden or not _is_hidden(item.name)]
        except OSError as error:
            yield Refused(_printable(path), UnreadableSource(f"the folder cannot be read: {error.strerror}"))
            continue
        found.sort(key=lambda item: item.name, reverse=True)
        waiting.extend((path, item) for item in found)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in SKIPPED_FOLDERS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; broken and circular links are not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
