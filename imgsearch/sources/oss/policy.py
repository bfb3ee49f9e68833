"""The minimal RAM policy for an import."""

from __future__ import annotations

from typing import Any, Final

from imgsearch.sources.oss.address import OssAddress

__all__ = ["EXAMPLE", "GET_LOCATION", "GET_OBJECT", "LIST_OBJECTS", "minimal_policy"]

GET_LOCATION: Final = "oss:GetBucketLocation"
LIST_OBJECTS: Final = "oss:ListObjects"
GET_OBJECT: Final = "oss:GetObject"
EXAMPLE: Final = OssAddress("BUCKET", "PATH")


def minimal_policy(address: OssAddress) -> dict[str, Any]:
    """The policy for a key or role that only imports from ``address``.

    ListObjectsV2 has no separate action: ``oss:ListObjects`` permits it.
    """
    bucket = f"acs:oss:*:*:{address.bucket}"
    listing: dict[str, Any] = {"Effect": "Allow", "Action": [LIST_OBJECTS], "Resource": [bucket]}
    if address.folder:
        listing["Condition"] = {"StringLike": {"oss:Prefix": [f"{address.prefix}*"]}}
    return {
        "Version": "1",
        "Statement": [
            {"Effect": "Allow", "Action": [GET_LOCATION], "Resource": [bucket]},
            listing,
            {"Effect": "Allow", "Action": [GET_OBJECT], "Resource": [f"{bucket}/{address.prefix}*"]},
        ],
    }
