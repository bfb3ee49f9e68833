"""Parsing what to import: ``oss://BUCKET/PATH``, region, endpoint, role."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from imgsearch.errors import RemoteCode, RemoteError, UsageError
from imgsearch.sources.manifest import MANIFEST_NAME

__all__ = ["OssAddress", "check_role_arn", "endpoint_region", "endpoint_url"]

SCHEME: Final = "oss://"
BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
ROLE_ARN: Final = re.compile(r"acs:ram::\d{16}:role/[A-Za-z0-9.@_-]{1,64}")
"""service.md, 10.1."""
REGION: Final = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")
HOST: Final = re.compile(r"[\w.-]+(:\d{1,5})?", re.ASCII)
REGIONAL_HOST: Final = re.compile(r"oss-(?P<region>[a-z0-9-]+?)(-internal)?\.aliyuncs\.com")
LOOPBACK: Final = ("127.", "localhost")


@dataclass(frozen=True, slots=True)
class OssAddress:
    """A folder in a bucket; ``folder`` has no leading or trailing slash and is empty for the whole bucket."""

    bucket: str
    folder: str

    @classmethod
    def parse(cls, text: str) -> OssAddress:
        """Parse ``oss://BUCKET/PATH``; ignores a trailing slash.

        Raises:
            UsageError: it does not begin with ``oss://``.
            RemoteError
        """
        if not text.startswith(SCHEME):
            raise UsageError("name the folder that holds increment.meta as oss://BUCKET/PATH")
        bucket, _, path = text.removeprefix(SCHEME).partition("/")
        if not BUCKET.fullmatch(bucket):
            # Text before an @ could be a key, put there by mistake: do not repeat it.
            shown = repr(bucket[:80]) if "@" not in bucket else "with an @"
            raise RemoteError(
                f"invalid bucket name {shown}: it must have 3 to 63 lower-case letters, digits and hyphens, no hyphen "
                "at its ends; name the folder as oss://BUCKET/PATH",
                code=RemoteCode.INVALID_BUCKET,
            )
        folder = path.strip("/")
        parts = folder.split("/") if folder else []
        if not all(part not in ("", ".", "..") and part.isprintable() for part in parts):
            raise RemoteError(
                f"invalid path {path[:200]!r}: it needs names between its slashes, no '.' and no '..'",
                code=RemoteCode.PATH_NOT_FOUND,
            )
        if parts and parts[-1] == MANIFEST_NAME:
            raise RemoteError(
                f"the path ends with {MANIFEST_NAME}: name the folder that holds it", code=RemoteCode.PATH_NOT_FOUND
            )
        return cls(bucket, folder)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.folder}"

    @property
    def prefix(self) -> str:
        """Common prefix of the keys of all objects in the folder."""
        return f"{self.folder}/" if self.folder else ""

    def key(self, name: str) -> str:
        """The key of the object with that name in the folder."""
        return self.prefix + name

    @property
    def manifest_key(self) -> str:
        """The key of ``increment.meta``."""
        return self.key(MANIFEST_NAME)

    @property
    def manifest(self) -> str:
        """The address of the manifest, for messages."""
        return f"{SCHEME}{self.bucket}/{self.manifest_key}"


def endpoint_url(endpoint: str | None, region: str | None) -> str:
    """The URL of the storage: the given endpoint, else the region's public one.

    Without a scheme it is https, as keys and pictures are transferred; only for a loopback address is it http.

    Raises:
        UsageError: neither was given.
        RemoteError
    """
    if endpoint is None:
        if region is None:
            raise UsageError(
                "the region of the bucket is unknown: pass --region-id (such as cn-shanghai) or --endpoint, or create "
                "the instance with 'imgsearch init --region-id'"
            )
        if not REGION.fullmatch(region):
            raise RemoteError(
                f"invalid region {region[:40]!r}; expected a name such as cn-shanghai or eu-central-1",
                code=RemoteCode.INVALID_ENDPOINT,
            )
        return f"https://oss-{region}.aliyuncs.com"
    scheme, mark, host = endpoint.rpartition("://")
    host = host.rstrip("/")
    if not mark:
        scheme = "http" if host.startswith(LOOPBACK) else "https"
    if scheme not in ("http", "https") or not HOST.fullmatch(host):
        shown = repr(endpoint[:80]) if "@" not in endpoint else "with an @"
        raise RemoteError(
            f"invalid endpoint {shown}; expected a host such as oss-cn-shanghai-internal.aliyuncs.com",
            code=RemoteCode.INVALID_ENDPOINT,
        )
    return f"{scheme}://{host}"


def endpoint_region(endpoint: str) -> str | None:
    """The region in the name of an OSS host; None for other hosts."""
    found = REGIONAL_HOST.fullmatch(urlsplit(endpoint).hostname or "")
    return found["region"] if found else None


def check_role_arn(arn: str) -> None:
    """Raise if this is not the ARN of a role.

    Raises:
        RemoteError
    """
    if not ROLE_ARN.fullmatch(arn):
        raise RemoteError(
            f"the role ARN {arn[:120]!r} is invalid: expected acs:ram::<16-digit account id>:role/<name>",
            code=RemoteCode.INVALID_ROLE_ARN,
        )
