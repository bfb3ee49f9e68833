"""A folder of an OSS bucket as a source: its ``increment.meta`` and the pictures listed there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgsearch.shards import Shard
from imgsearch.sources.oss.address import endpoint_region, endpoint_url
from imgsearch.sources.oss.operations import dry_run_operations, operations
from imgsearch.sources.oss.preflight import check_bucket, checked_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from typing import BinaryIO

    from imgsearch.sources.oss.address import OssAddress
    from imgsearch.sources.oss.bucket import BucketReader
    from imgsearch.types import Operation
    from imgsearch.values import Key

__all__ = ["OssFolder", "open_folder"]


def open_folder(
    address: OssAddress,
    stack: ExitStack,
    *,
    region: str | None,
    endpoint: str | None = None,
    role_arn: str | None = None,
    sts_endpoint: str | None = None,
    downloads: int,
    timeout: float,
    shard: Shard | None = None,
) -> OssFolder:
    """A folder to import from, with the credentials of this process; nothing is asked yet.

    Args:
        address: of the folder.
        stack: keeps the manifest open until the caller closes it.
        region: required region of the bucket; None: any.
        endpoint: host of the storage; None: that of the region.
        role_arn: of a role to assume.
        sts_endpoint: host of the token service; None: the vendor's public one.
        downloads: pictures that are downloaded at once.
        timeout: seconds without an answer.
        shard: gives the operations of its products only; None: all.

    Raises:
        RemoteError
    """
    # The vendor's library reads the environment when it is imported.
    from imgsearch.sources.oss.bucket import BucketReader
    from imgsearch.sources.oss.credentials import Access

    url = endpoint_url(endpoint, region)
    access = Access(role_arn, sts_endpoint)
    own_region = region or endpoint_region(url)
    bucket = BucketReader(address, url, access, own_region, connections=downloads + 1, timeout=timeout)
    return OssFolder(bucket, region, stack, shard or Shard())


@dataclass(slots=True)
class OssFolder:
    """One folder of a bucket.

    Args:
        bucket: to read from.
        region: required region of the bucket; None: any.
        stack: keeps the manifest open until the caller closes it.
        shard: gives the operations of its products only.
    """

    bucket: BucketReader
    region: str | None
    stack: ExitStack
    shard: Shard = field(default_factory=Shard)
    countable: None = None
    _manifest: BinaryIO | None = field(default=None, init=False)

    def check(self) -> None:
        """Check keys, role, clock, bucket, rights, path and manifest; each cause has its own message.

        Raises:
            RemoteError
            StorageFull: there is no space for a long manifest.
        """
        check_bucket(self.bucket, self.region)
        self._manifest = self.stack.enter_context(checked_manifest(self.bucket))

    def operations(self, is_stored: Callable[[Key], bool]) -> Iterator[Operation]:
        """The operations of the manifest; listings show which pictures are unchanged.

        Raises:
            RemoteError: a listing was refused.
        """
        return operations(self.bucket, self._checked(), is_stored, self.shard)

    def dry_run(self, max_bytes: int) -> Iterator[Operation]:
        """The same, after checking in listings that each object exists and is not too large.

        Raises:
            RemoteError: a listing was refused.
        """
        return dry_run_operations(self.bucket, self._checked(), max_bytes, self.shard)

    def _checked(self) -> BinaryIO:
        assert self._manifest is not None, "call check first"
        return self._manifest
