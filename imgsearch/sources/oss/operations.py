"""The operations of a manifest in a bucket, and the pictures that its lines name.

Unchanged pictures are told by the listing of the folder, never by a request for each: lines are looked at in blocks,
and for those of a block that are stored already, the pages of the listing that hold their keys are asked for. That
takes at most one request for each such line and never more than the folder has pages, in whatever order the manifest
is, and holds no more than one block.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from imgsearch.errors import PictureTooLarge, UnreadableSource
from imgsearch.sources.manifest import read_manifest
from imgsearch.sources.oss.bucket import MAX_PAGE
from imgsearch.types import AddPicture, Content, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Set
    from typing import BinaryIO

    from imgsearch.sources.oss.bucket import BucketReader, Listed
    from imgsearch.types import Operation
    from imgsearch.values import Key

__all__ = ["OssPicture", "dry_run_operations", "operations"]

BLOCK_LINES: Final = 4096
SPARSE_PAGE: Final = 100
SPARSE_SHARE: Final = 10
"""Pages become short where fewer than one key of so many is asked for."""


@dataclass(slots=True)
class OssPicture:
    """One object."""

    bucket: BucketReader
    key: str
    listed: bytes | None = None
    """Its token by the listing, for what may be unchanged."""

    def token(self) -> bytes | None:
        """Of its present version; None where nobody has asked."""
        return self.listed

    def read(self, max_bytes: int) -> Content:
        """Download it into memory.

        Raises:
            PictureTooLarge, UnreadableSource: this object cannot be had.
            RemoteError: no object can.
        """
        return Content(*self.bucket.picture(self.key, max_bytes))


def operations(bucket: BucketReader, manifest: BinaryIO, is_stored: Callable[[Key], bool]) -> Iterator[Operation]:
    """The operations of a manifest, in its order.

    Args:
        bucket: where it lies, with the pictures in its folder or below.
        manifest: its bytes.
        is_stored: whether an item has that key, so that its picture may be unchanged.

    Raises:
        RemoteError: a listing was refused.
    """
    for block in _blocks(bucket, manifest):
        listing = _find(bucket, {picture.key for operation, picture in _added(block) if is_stored(operation.key)})
        for _, picture in _added(block):
            if picture.key in listing:
                picture.listed = listing[picture.key].token
        yield from block


def dry_run_operations(bucket: BucketReader, manifest: BinaryIO, max_bytes: int) -> Iterator[Operation]:
    """The same for telling what would be done: each object is looked up, and no body is ever read.

    Args:
        bucket: where it lies.
        manifest: its bytes.
        max_bytes: objects of so many bytes or more would be refused.

    Raises:
        RemoteError: a listing was refused.
    """
    for block in _blocks(bucket, manifest):
        listing = _find(bucket, {picture.key for _, picture in _added(block)})
        for operation in block:
            if isinstance(operation, AddPicture) and isinstance(operation.picture, OssPicture):
                yield _looked_up(operation, operation.picture, listing, max_bytes)
            else:
                yield operation


def _looked_up(
    operation: AddPicture, picture: OssPicture, listing: Mapping[str, Listed], max_bytes: int
) -> AddPicture | Refused:
    found = listing.get(picture.key)
    error: UnreadableSource | PictureTooLarge
    if found is None:
        error = UnreadableSource("there is no such object in the bucket")
    elif found.size >= max_bytes:
        error = PictureTooLarge.of(found.size, max_bytes)
    else:
        picture.listed = found.token
        return operation
    return Refused(operation.source, error, operation.key.product_id, operation.key.pic_name)


def _blocks(bucket: BucketReader, manifest: BinaryIO) -> Iterator[list[Operation]]:
    address = bucket.address
    lines = read_manifest(manifest, address.manifest, lambda name: (OssPicture(bucket, address.key(name)), None))
    while block := list(islice(lines, BLOCK_LINES)):
        yield block


def _added(block: list[Operation]) -> Iterator[tuple[AddPicture, OssPicture]]:
    for operation in block:
        if isinstance(operation, AddPicture) and isinstance(operation.picture, OssPicture):
            yield operation, operation.picture


def _find(bucket: BucketReader, keys: Set[str]) -> dict[str, Listed]:
    """Those of the keys that the listing shows."""
    wanted = sorted(keys)  # by code points, as OSS sorts by the bytes of UTF-8
    found: dict[str, Listed] = {}
    position, behind, size = 0, "", MAX_PAGE
    while position < len(wanted):
        # All that begins with a key's first characters comes behind these, the key with hardly a neighbour.
        behind = max(behind, wanted[position][:-1])
        page = bucket.page(behind, size)
        found.update((item.key, item) for item in page.objects if item.key in keys)
        if page.complete or not page.objects:
            break
        behind = page.objects[-1].key
        start = position
        while position < len(wanted) and wanted[position] <= behind:
            position += 1
        size = MAX_PAGE if (position - start) * SPARSE_SHARE >= len(page.objects) else SPARSE_PAGE
    return found
