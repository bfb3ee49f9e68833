"""What is checked before any work, so that each documented cause of a failed import has its own message."""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import oss2

from imgsearch.durable_fs import file_errors
from imgsearch.errors import ManifestNotFound, PathNotFound, RegionMismatch
from imgsearch.sources.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from imgsearch.sources.oss.bucket import BucketReader

__all__ = ["check_bucket", "checked_manifest"]

log: Final = logging.getLogger("imgsearch.oss")
IN_MEMORY_BYTES: Final = 1024 * 1024
"""A longer manifest waits in a nameless temporary file: an import can take longer than a connection lives."""


def check_bucket(bucket: BucketReader, region: str | None) -> None:
    """Ask for the bucket's region and for the folder's first object: keys, role, clock, bucket, rights and path.

    Args:
        bucket: to be imported from.
        region: where it has to be; None: anywhere.

    Raises:
        RegionMismatch, PathNotFound, RemoteError
    """
    address = bucket.address
    location = bucket.location()
    if region is not None and location != region:
        raise RegionMismatch(
            f"the bucket {address.bucket!r} is in {location}, the instance imports from {region}: import it into an "
            f"instance that is made with 'imgsearch init --region-id {location}'"
        )
    if not bucket.page(max_keys=1).objects:
        raise PathNotFound(f"there is nothing under {address}: check the path")
    log.info("access to %s is fine (region %s)", address, location)


@contextmanager
def checked_manifest(bucket: BucketReader) -> Iterator[BinaryIO]:
    """The bucket's ``increment.meta``, whole and with the right CRC-64, ready to be read from its beginning.

    Raises:
        ManifestNotFound, RemoteError
        StorageFull: there is no room for a long one.
    """
    address = bucket.address
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:

        def restart() -> None:
            spool.seek(0)
            spool.truncate()

        with file_errors(Path(tempfile.gettempdir())):
            try:
                bucket.copy_manifest(spool.write, restart)
            except oss2.exceptions.NoSuchKey:
                raise ManifestNotFound(
                    f"there is no {MANIFEST_NAME} under {address}: the manifest must have exactly that name and lie "
                    "right there"
                ) from None
        log.info("%s has %d bytes", address.manifest, spool.tell())
        spool.seek(0)
        yield spool  # type: ignore[misc]  # typeshed: it reads like a file and is not declared as one
