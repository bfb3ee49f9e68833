"""The operations of a manifest in a bucket, and the pictures that its lines name.

Listings of the folder show which pictures are unchanged, instead of a request for each: lines are processed in blocks,
and for those already stored, the pages of the listing that contain their keys are requested. This takes at most one
request per such line and no more than the folder has pages, in any order of the manifest, and holds one block in
memory. Listings are only an optimisation: without the right to list, or if the storage's listings cannot be understood,
each of these objects is looked up by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from imgsearch.errors import PictureTooLarge, UnreadableSource
from imgsearch.shards import Shard
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
"""Short pages are used where fewer than one in this many keys is needed."""


@dataclass(slots=True)
class OssPicture:
    """An object."""

    bucket: BucketReader
    key: str
    listed: bytes | None = None
    """Its token according to the listing, if it may be unchanged."""

    def token(self) -> bytes | None:
        """The token of its current version; None if not requested."""
        return self.listed

    def read(self, max_bytes: int) -> Content:
        """Download it into memory.

        Raises:
            PictureTooLarge, UnreadableSource: this object cannot be used.
            RemoteError: no object can be read.
        """
        return Content(*self.bucket.picture(self.key, max_bytes))


def operations(
    bucket: BucketReader, manifest: BinaryIO, is_stored: Callable[[Key], bool], shard: Shard | None = None
) -> Iterator[Operation]:
    """The operations of a manifest, in order.

    Args:
        bucket: with the manifest, and pictures in its folder or below.
        manifest: its bytes.
        is_stored: whether an item has that key, so that its picture may be unchanged.
        shard: whose operations are wanted, and listed; None: all.

    Raises:
        RemoteError: a listing was refused.
    """
    for block in _blocks(bucket, manifest, shard):
        listing = _find(bucket, {picture.key for operation, picture in _added(block) if is_stored(operation.key)})
        for _, picture in _added(block):
            if picture.key in listing:
                picture.listed = listing[picture.key].token
        yield from block


def dry_run_operations(
    bucket: BucketReader, manifest: BinaryIO, max_bytes: int, shard: Shard | None = None
) -> Iterator[Operation]:
    """The operations for a dry run: checks in listings that each object exists, and reads none.

    Args:
        bucket: with the manifest.
        manifest: its bytes.
        max_bytes: the smallest refused size.
        shard: whose operations are wanted; None: all.

    Raises:
        RemoteError: a listing was refused.
    """
    for block in _blocks(bucket, manifest, shard):
        listing = _find(bucket, {picture.key for _, picture in _added(block)})
        for operation in block:
            if isinstance(operation, AddPicture) and isinstance(operation.picture, OssPicture):
                yield _checked(operation, operation.picture, listing, max_bytes)
            else:
                yield operation


def _checked(
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


def _blocks(bucket: BucketReader, manifest: BinaryIO, shard: Shard | None) -> Iterator[list[Operation]]:
    address = bucket.address
    read = read_manifest(manifest, address.manifest, lambda name: (OssPicture(bucket, address.key(name)), None))
    lines = (Shard() if shard is None else shard).of(read)
    while block := list(islice(lines, BLOCK_LINES)):
        yield block


def _added(block: list[Operation]) -> Iterator[tuple[AddPicture, OssPicture]]:
    for operation in block:
        if isinstance(operation, AddPicture) and isinstance(operation.picture, OssPicture):
            yield operation, operation.picture


def _find(bucket: BucketReader, keys: Set[str]) -> dict[str, Listed]:
    """Look up keys in the listing; where there is none, one by one."""
    if bucket.listing_failure is not None:
        return bucket.look_up(sorted(keys))
    wanted = sorted(keys)  # by code points, as OSS sorts by the bytes of UTF-8
    found: dict[str, Listed] = {}
    position, behind, size = 0, "", MAX_PAGE
    while position < len(wanted):
        # Start just before the key: right after the prefix that lacks its last character.
        behind = max(behind, wanted[position][:-1])
        page = bucket.page(behind, size)
        if page is None:
            return bucket.look_up(wanted)
        found.update((item.key, item) for item in page.objects if item.key in keys)
        if page.complete or not page.objects:
            break
        behind = page.objects[-1].key
        start = position
        while position < len(wanted) and wanted[position] <= behind:
            position += 1
        size = MAX_PAGE if (position - start) * SPARSE_SHARE >= len(page.objects) else SPARSE_PAGE
    return found
