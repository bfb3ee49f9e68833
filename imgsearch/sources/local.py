"""Local files and folders as a source, and what can be said of files without reading them."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgsearch.errors import PictureTooLarge, UnreadableSource
from imgsearch.sources import files
from imgsearch.sources.files import FilePicture
from imgsearch.types import AddPicture, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from imgsearch.shards import Shard
    from imgsearch.sources.files import FileBatch, FileRequest
    from imgsearch.sources.walking import PassedOver
    from imgsearch.types import Operation
    from imgsearch.values import Key

__all__ = ["LocalFiles", "file_problem", "looked_up"]


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """Files, and the pictures in folders.

    Args:
        paths: of files and folders; may be an endless stream.
        request: how keys are derived, and what applies to every picture.
        countable: the paths, if they are known in advance.
    """

    paths: Iterable[Path]
    request: FileRequest
    countable: list[Path] | None = None
    passed_over: PassedOver | None = None
    """Told of what is passed over in folders."""
    shard: Shard | None = None
    """Gives the operations of its products only."""

    def check(self) -> None:
        """Nothing to check: invalid paths are refused one by one."""

    def operations(self, is_stored: Callable[[Key], bool]) -> Iterator[Operation]:  # noqa: ARG002  # a token costs nothing
        """One operation per picture, in a stable order."""
        return files.operations(self.paths, self.request, self.passed_over, self.shard)

    def batches(self) -> Iterator[FileBatch | AddPicture | Refused]:
        """The same, those of folders in batches."""
        return files.batches(self.paths, self.request, self.passed_over, self.shard)

    def dry_run(self, max_bytes: int) -> Iterator[Operation]:
        """The same, after checking that each file exists and is not too large."""
        return looked_up(self.operations(lambda _key: False), max_bytes)


def looked_up(operations: Iterable[Operation], max_bytes: int) -> Iterator[Operation]:
    """The operations for a dry run: files that are missing or too large are refused; reads none."""
    for operation in operations:
        if isinstance(operation, AddPicture) and isinstance(operation.picture, FilePicture):
            problem = file_problem(operation.picture.path, max_bytes)
            if problem is not None:
                yield Refused(operation.source, problem, operation.key.product_id, operation.key.pic_name)
                continue
        yield operation


def file_problem(path: Path, max_bytes: int) -> UnreadableSource | PictureTooLarge | None:
    """Why ``FilePicture.read`` would refuse a file, if this is known without opening it."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it has a NUL in its name"
        return UnreadableSource(f"the file cannot be read: {reason}")
    if not stat.S_ISREG(status.st_mode):
        return UnreadableSource("it is not a regular file")
    return PictureTooLarge.of(status.st_size, max_bytes) if status.st_size >= max_bytes else None
