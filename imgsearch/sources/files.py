"""Pictures in the file system: single files, folders, lists of paths."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final, Literal

from imgsearch.errors import ImgsearchError, NothingFound, PictureTooLarge, UnreadableSource
from imgsearch.shards import Shard
from imgsearch.sources.walking import PICTURE_SUFFIXES, PassedOver, Selection, printable, walk
from imgsearch.types import AddPicture, Content, Refused
from imgsearch.values import Attributes, Key, Location, PictureOptions, nfc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "PICTURE_SUFFIXES",
    "FileBatch",
    "FilePicture",
    "FileRequest",
    "batches",
    "file_operation",
    "file_token",
    "find_pictures",
    "is_folder",
    "operations",
    "pictures_under",
]

BATCH_FILES: Final = 1024

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
            return file_token(self.path)
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


def file_token(path: str | os.PathLike[str], now: int | None = None) -> bytes | None:
    """The token of a file; see ``FilePicture.token``.

    Args:
        path: of the file.
        now: the time in nanoseconds, or a little earlier.

    Raises:
        OSError, ValueError: it cannot be accessed.
    """
    return _token(os.stat(path), now)  # noqa: PTH116  # a Path takes longer than the call


def _token(status: os.stat_result, now: int | None = None) -> bytes | None:
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    if (time.time_ns() if now is None else now) - changed < RACY_NANOSECONDS:
        return None
    facts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).digest()


@dataclass(frozen=True, slots=True)
class FileRequest:
    """The options of ``add PATH…``: how keys are derived, what is taken, and what applies to every picture."""

    product_id: str | None = None
    pic_name: str | None = None
    product_from: Literal["name", "parent"] = "name"
    options: PictureOptions = PictureOptions()
    attributes: Attributes = Attributes()
    include_hidden: bool = False
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    allow_empty: bool = False
    """A folder without a picture is not a failure."""

    @property
    def selection(self) -> Selection:
        """What of a folder is taken."""
        return Selection(self.include_hidden, self.exclude, self.follow_links)

    def names(self, root: str, name: str) -> tuple[str, str]:
        """ProductId and PicName of a file, not validated.

        What comes from a file's name is spelled with composed characters, as the same name may be spelled in two ways.

        Args:
            root: the given folder, absolute; that of the file if the file itself was given.
            name: its path relative to the given folder, with ``/``; the file name if the file itself was given.
        """
        if self.product_id is not None:
            product_id = self.product_id
        elif self.product_from == "parent":
            folder = name.rpartition("/")[0] or root
            product_id = nfc(PurePath(folder).name)
        else:
            product_id = nfc(_without_suffix(name))
        return product_id, self.pic_name if self.pic_name is not None else nfc(name)

    def all_names(self, root: str, names: Sequence[str]) -> list[tuple[str, str]]:
        """``names`` of many files."""
        if self.product_id is None and self.pic_name is None and self.product_from == "name":
            return [(_without_suffix(name), name) if name.isascii() else self.names(root, name) for name in names]
        return [self.names(root, name) for name in names]

    def key(self, root: str, name: str) -> Key:
        """ProductId and PicName of a file; takes what ``names`` does.

        Raises:
            InvalidValue
        """
        return Key(*self.names(root, name))


def _without_suffix(name: str) -> str:
    dot = name.rfind(".")
    return name[:dot] if name.rfind("/") + 1 < dot < len(name) - 1 else name


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Some of the pictures below one folder, in order."""

    folder: Path
    """As it was given."""
    root: str
    """The same, absolute and without links."""
    names: list[str]
    """Relative to it, with ``/``."""
    request: FileRequest

    @property
    def prefix(self) -> str:
        """What leads to the pictures, with the folder as it was given: a name behind it is a path."""
        return os.fspath(self.folder / "_")[:-1]

    def operation(self, name: str) -> AddPicture | Refused:
        """The operation for one of them."""
        return file_operation(self.folder / name, name, self.root, self.request)


def batches(
    paths: Iterable[Path],
    request: FileRequest,
    passed_over: PassedOver | None = None,
    shard: Shard | None = None,
) -> Iterator[FileBatch | AddPicture | Refused]:
    """The pictures under the paths, in a stable order: those of folders in batches.

    Args:
        paths: files and folders; read no further ahead than needed.
        request: what goes with them.
        passed_over: told of what is passed over in folders.
        shard: gives those of its products only. What cannot be read as a folder concerns every shard.
    """
    skipped = PassedOver() if passed_over is None else passed_over
    mine = Shard() if shard is None else shard
    for path in paths:
        problem = _problem(path)
        if problem is not None:
            if not _is_named_like_a_picture(path) or mine.takes(_product_of(path, request)):
                yield Refused(printable(path), problem)
        elif path.is_dir():
            yield from _batches_of(path, request, skipped, mine)
        elif mine.is_whole or mine.takes(_product_of(path, request)):
            yield file_operation(path, path.name, str(path.parent.resolve()), request)


def _is_named_like_a_picture(path: Path) -> bool:
    """Whether a path that is not there would be a picture, not a folder, as far as its name tells."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def _product_of(path: Path, request: FileRequest) -> str:
    """The ProductId of a file that was given itself."""
    try:
        folder = str(path.parent.resolve())
    except (OSError, ValueError):  # such a path is refused
        folder = str(path.parent)
    return request.names(folder, path.name)[0]


def _batches_of(folder: Path, request: FileRequest, skipped: PassedOver, shard: Shard) -> Iterator[FileBatch | Refused]:
    before = skipped.counts.copy()
    root, found, names = str(folder.resolve()), False, list[str]()
    for item in walk(os.fspath(folder), request.selection, skipped):
        found = True
        if isinstance(item, Refused):
            if names:
                yield FileBatch(folder, root, names, request)
                names = []
            yield item
            continue
        if not shard.is_whole and not shard.takes(request.names(root, item)[0]):
            continue
        names.append(item)
        if len(names) == BATCH_FILES:
            yield FileBatch(folder, root, names, request)
            names = []
    if names:
        yield FileBatch(folder, root, names, request)
    if not found and not request.allow_empty:
        yield Refused(printable(folder), nothing_found(PassedOver(counts=skipped.counts - before)))


def nothing_found(passed_over: PassedOver) -> NothingFound:
    """The error for a folder without a picture, which says what is there instead."""
    instead = passed_over.in_words()
    return NothingFound(
        f"there are no pictures in this folder (passed over: {instead})"
        if instead
        else "there are no pictures in this folder; it is empty: is its disk mounted?"
    )


def operations(
    paths: Iterable[Path],
    request: FileRequest,
    passed_over: PassedOver | None = None,
    shard: Shard | None = None,
) -> Iterator[AddPicture | Refused]:
    """One operation for every picture under the paths, in a stable order; takes what ``batches`` does."""
    for item in batches(paths, request, passed_over, shard):
        if isinstance(item, FileBatch):
            yield from map(item.operation, item.names)
        else:
            yield item


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
        key = request.key(root, name)
        _check_location(root, name)
    except ImgsearchError as error:
        return Refused(printable(path), error)
    location = Location(root, None if key.pic_name == name else name)
    return AddPicture(str(path), key, FilePicture(path), request.options, request.attributes, location)


def _check_location(root: str, name: str) -> None:
    for what, value in (("folder", root), ("file", name)):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UnreadableSource(f"the {what}'s name is not valid UTF-8; rename it") from None


def find_pictures(paths: Iterable[Path], selection: Selection = Selection()) -> Iterator[Path]:  # noqa: B008  # immutable
    """All files that ``operations`` would try, without reading them."""
    for path in paths:
        if _problem(path) is None and path.is_dir():
            yield from (path / name for name in walk(os.fspath(path), selection) if isinstance(name, str))
        else:
            yield path


def pictures_under(path: Path) -> Iterator[Path | Refused]:
    """Query pictures under a given path, or why there are none; yields at least one value."""
    if _problem(path) is not None or not path.is_dir():
        yield path
        return
    found, passed_over = False, PassedOver()
    for item in walk(os.fspath(path), Selection(), passed_over):
        found = True
        yield item if isinstance(item, Refused) else path / item
    if not found:
        yield Refused(printable(path), nothing_found(passed_over))
