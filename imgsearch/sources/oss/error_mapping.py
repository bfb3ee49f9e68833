"""What OSS means by an error: to be tried again, the fault of one picture, or of the whole import.

oss2 has classes for some codes only; the others arrive as ``ServerError`` and differ in ``code`` (service.md, 10.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import requests.exceptions
import urllib3.exceptions
from oss2.exceptions import AccessDenied, NoSuchBucket, OssError, RequestError, ServerError

from imgsearch.errors import (
    BucketNotFound,
    ClockSkew,
    InvalidEndpoint,
    PolicyInsufficient,
    RegionMismatch,
    RemoteError,
    RemoteUnavailable,
    TokenRefused,
    UnknownKey,
    UnreadableSource,
    WrongSecret,
)

if TYPE_CHECKING:
    from imgsearch.sources.oss.address import OssAddress

__all__ = [
    "BrokenBody",
    "TooSlow",
    "is_token_refusal",
    "is_transient",
    "picture_error",
    "remote_error",
    "unknown_key",
    "wrong_secret",
]

TRANSIENT_CODES: Final = frozenset({"RequestTimeout", "InternalError", "ServiceUnavailable"})
TOO_MANY_REQUESTS: Final = 429
NOT_IMPLEMENTED: Final = 501
TOKEN_CODES: Final = frozenset({"SecurityTokenExpired", "InvalidSecurityToken"})
RUN_CODES: Final = TOKEN_CODES | {"InvalidAccessKeyId", "RequestTimeTooSkewed", "NoSuchBucket", "UserDisable"}
"""Codes that every later object would meet as well."""


class BrokenBody(Exception):
    """A body that is not what the storage holds: cut off, or with another CRC-64."""


class TooSlow(Exception):
    """A body that did not come to its end in time."""


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed a moment later."""
    match error:
        case BrokenBody() | urllib3.exceptions.HTTPError():
            return True
        case RequestError(exception=cause):
            refused = (requests.exceptions.SSLError, requests.exceptions.InvalidURL, requests.exceptions.ProxyError)
            return not isinstance(cause, refused)
        case ServerError(status=status, code=code):
            return (
                code in TRANSIENT_CODES or status == TOO_MANY_REQUESTS or (status >= 500 and status != NOT_IMPLEMENTED)
            )
    return False


def is_token_refusal(error: BaseException) -> bool:
    """Whether another token might be accepted.

    OSS forgets the key of an expired token after a while, and calls it unknown from then on.
    """
    return isinstance(error, ServerError) and (error.code in TOKEN_CODES or error.code == "InvalidAccessKeyId")


def unknown_key() -> UnknownKey:
    """What the storage and the token service refuse alike."""
    return UnknownKey("the access key does not exist or is disabled: check the access key id")


def wrong_secret() -> WrongSecret:
    """Likewise."""
    return WrongSecret("the secret does not belong to the access key: check the access key secret")


def remote_error(error: BaseException, address: OssAddress, action: str = "") -> RemoteError:
    """What ends the import, with the way out.

    Args:
        error: what oss2, requests or urllib3 raised.
        address: what is imported.
        action: the right that the request needed, such as ``oss:GetObject``.
    """
    bucket = address.bucket
    match error:
        case ServerError(code="InvalidAccessKeyId" | "UserDisable"):
            return unknown_key()
        case ServerError(code="SignatureDoesNotMatch"):
            return wrong_secret()
        case ServerError(code=code) if code in TOKEN_CODES:
            return TokenRefused(
                "the security token has expired or is not valid: get a new one, or use --role-arn", code=code
            )
        case ServerError(code="RequestTimeTooSkewed"):
            return ClockSkew("this machine's clock is more than 15 minutes off: set it (for example with chrony)")
        case NoSuchBucket():
            return BucketNotFound(f"there is no bucket {bucket!r}: check its name")
        case AccessDenied(details=details) if details.get("Endpoint"):
            return RegionMismatch(
                f"the bucket {bucket!r} is served by {details['Endpoint']}, another region than the one asked: import "
                "it into an instance of its region (imgsearch init --region-id), or give that --endpoint"
            )
        case ServerError(code="InvalidArgument", message=message) if "signing region" in message:
            return RegionMismatch(
                f"the endpoint serves another region than the instance (or --region-id) names, so {bucket!r} is not in "
                "it: give the bucket's region and an endpoint of it"
            )
        case AccessDenied():
            return PolicyInsufficient(
                f"no right to {action or 'read'} in {address}: attach the policy that "
                f"'imgsearch oss-import {address} --explain-policy' prints to the key's user or role"
            )
        case ServerError(status=status) if status < 500:
            return InvalidEndpoint(
                f"the storage refuses the request for {address} with {error.code or status}: check --endpoint "
                "and --region-id"
            )
    return RemoteUnavailable(f"{address} cannot be read ({_fault(error)}): check --endpoint and the network, run again")


def picture_error(error: BaseException, address: OssAddress) -> RemoteError | UnreadableSource:
    """What became of one object: its own failure, or what ends the import as every other would fail too."""
    match error:
        case TooSlow():
            return UnreadableSource(f"the object did not come in time: {error}", code="TimeoutForTransferImage")
        case BrokenBody():
            return UnreadableSource(f"the object came damaged each time: {error}", code="InternalOssError")
        case ServerError(code=code) if code in RUN_CODES:
            return remote_error(error, address)
        case ServerError(code="NoSuchKey"):
            return UnreadableSource("there is no such object in the bucket")
        case AccessDenied():
            return UnreadableSource("no right to read this object (oss:GetObject)", code="AccessDenied")
        case ServerError(code="InvalidObjectState"):
            return UnreadableSource("the object is archived: restore it, then run again")
        case ServerError(status=status, code=code) if status < 500:
            return UnreadableSource(f"the storage refuses the object: {code or status}")
        case ServerError():
            return UnreadableSource(f"the storage failed each time: {_fault(error)}", code="InternalOssError")
    return UnreadableSource(f"the connection failed each time: {_fault(error)}", code="NetworkException")


def _fault(error: BaseException) -> str:
    """The kind of an error alone; the text of network errors repeats whole requests."""
    if isinstance(error, RequestError):
        return type(error.exception).__name__
    if isinstance(error, OssError) and error.code:
        return f"{error.status} {error.code}"
    return str(error.status) if isinstance(error, OssError) else type(error).__name__
