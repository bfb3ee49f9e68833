"""Checks before an import, so that each documented cause of failure has its own message."""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import oss2

from imgsearch.durable_fs import file_errors, temporary_folder
from imgsearch.errors import RemoteCode, RemoteError
from imgsearch.sources.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from imgsearch.sources.oss.bucket import BucketReader

__all__ = ["check_bucket", "checked_manifest"]

log: Final = logging.getLogger("imgsearch.oss")
IN_MEMORY_BYTES: Final = 1024 * 1024
"""A longer manifest is kept in an unnamed temporary file: an import may outlast a connection."""


def check_bucket(bucket: BucketReader, region: str | None) -> None:
    """Request the bucket's region and the first object: checks keys, role, clock, bucket, rights and path.

    Args:
        bucket: to be imported from.
        region: the required region; None: any.

    Raises:
        RemoteError
    """
    address = bucket.address
    location = bucket.location()
    if region is not None and location != region:
        raise RemoteError(
            f"the bucket {address.bucket!r} is in {location}, but the instance imports from {region}: import it into "
            f"an instance created with 'imgsearch init --region-id {location}'",
            code=RemoteCode.REGION_MISMATCH,
        )
    page = bucket.page(max_keys=1)
    if page is not None and not page.objects:
        raise RemoteError(f"there is nothing under {address}: check the path", code=RemoteCode.PATH_NOT_FOUND)
    log.info("access to %s works (region %s)", address, location)


@contextmanager
def checked_manifest(bucket: BucketReader) -> Iterator[BinaryIO]:
    """The bucket's ``increment.meta``, complete and with a matching CRC-64, positioned at its beginning.

    Raises:
        RemoteError
        StorageFull: there is no space for a long one.
    """
    address = bucket.address
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:

        def restart() -> None:
            spool.seek(0)
            spool.truncate()

        with file_errors(temporary_folder()):
            try:
                bucket.copy_manifest(spool.write, restart)
            except oss2.exceptions.NoSuchKey:
                raise RemoteError(
                    f"there is no {MANIFEST_NAME} under {address}: the manifest must have exactly that name and "
                    "be in that folder",
                    code=RemoteCode.MANIFEST_NOT_FOUND,
                ) from None
        log.info("%s has %d bytes", address.manifest, spool.tell())
        spool.seek(0)
        yield spool  # type: ignore[misc]  # typeshed does not declare it as a binary file
