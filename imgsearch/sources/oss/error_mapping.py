"""Mapping of OSS errors: to be retried, a failure of one picture, or of the whole import.

oss2 has classes for some codes only; the others arrive as ``ServerError`` and differ in ``code`` (service.md, 10.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import requests.exceptions
import urllib3.exceptions
from oss2.exceptions import AccessDenied, NoSuchBucket, OssError, RequestError, ServerError

from imgsearch.errors import RemoteCode, RemoteError, UnreadableSource
from imgsearch.sources.bodies import BrokenBody, TooSlow

if TYPE_CHECKING:
    from imgsearch.sources.oss.address import OssAddress

__all__ = [
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
"""Codes that every other object would return too."""


def is_transient(error: BaseException) -> bool:
    """Whether a retry of the request may succeed."""
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

    OSS forgets the key of an expired token after a while and then reports it as unknown.
    """
    return isinstance(error, ServerError) and (error.code in TOKEN_CODES or error.code == "InvalidAccessKeyId")


def unknown_key() -> RemoteError:
    """The error for an unknown key, from the storage or the token service."""
    return RemoteError(
        "the access key does not exist or is disabled: check the access key id", code=RemoteCode.UNKNOWN_KEY
    )


def wrong_secret() -> RemoteError:
    """The error for a wrong secret, from either of them."""
    return RemoteError(
        "the secret does not belong to the access key: check the access key secret", code=RemoteCode.WRONG_SECRET
    )


def remote_error(error: BaseException, address: OssAddress, action: str = "") -> RemoteError:
    """The error that ends the import, with advice.

    Args:
        error: what oss2, requests or urllib3 raised.
        address: that is imported.
        action: the right that the request needed, such as ``oss:GetObject``.
    """
    bucket = address.bucket
    match error:
        case ServerError(code="InvalidAccessKeyId" | "UserDisable"):
            return unknown_key()
        case ServerError(code="SignatureDoesNotMatch"):
            return wrong_secret()
        case ServerError(code=code) if code in TOKEN_CODES:
            return RemoteError(
                "the security token has expired or is invalid: get a new one, or use --role-arn", code=code
            )
        case ServerError(code="RequestTimeTooSkewed"):
            return RemoteError(
                "this machine's clock is more than 15 minutes off: set it (for example with chrony)",
                code=RemoteCode.CLOCK_SKEW,
            )
        case NoSuchBucket():
            return RemoteError(f"there is no bucket {bucket!r}: check its name", code=RemoteCode.BUCKET_NOT_FOUND)
        case AccessDenied(details=details) if details.get("Endpoint"):
            return RemoteError(
                f"the bucket {bucket!r} is served by {details['Endpoint']}, another region than the one requested: "
                "import it into an instance of its region (imgsearch init --region-id), or pass that --endpoint",
                code=RemoteCode.REGION_MISMATCH,
            )
        case ServerError(code="InvalidArgument", message=message) if "signing region" in message:
            return RemoteError(
                f"the endpoint serves another region than the instance (or --region-id) names, so {bucket!r} is not "
                "in it: pass the bucket's region and a matching endpoint",
                code=RemoteCode.REGION_MISMATCH,
            )
        case AccessDenied():
            return RemoteError(
                f"no permission for {action or 'read'} in {address}: attach the policy that "
                f"'imgsearch oss-import {address} --explain-policy' prints to the key's user or role",
                code=RemoteCode.POLICY_INSUFFICIENT,
            )
        case ServerError(status=status) if status < 500:
            return RemoteError(
                f"the storage rejects the request for {address} with {error.code or status}: check --endpoint "
                "and --region-id",
                code=RemoteCode.INVALID_ENDPOINT,
            )
    return RemoteError(
        f"{address} cannot be read ({_fault(error)}): check --endpoint and the network, then run again",
        code=RemoteCode.UNAVAILABLE,
    )


def picture_error(error: BaseException, address: OssAddress) -> RemoteError | UnreadableSource:
    """The failure of one object, or the error that ends the import because all others would fail too."""
    match error:
        case TooSlow():
            return UnreadableSource(f"the object was not received in time: {error}", code="TimeoutForTransferImage")
        case BrokenBody():
            return UnreadableSource(f"the object arrived damaged every time: {error}", code="InternalOssError")
        case ServerError(code=code) if code in RUN_CODES:
            return remote_error(error, address)
        case ServerError(code="NoSuchKey"):
            return UnreadableSource("there is no such object in the bucket")
        case AccessDenied():
            return UnreadableSource("no permission to read this object (oss:GetObject)", code="AccessDenied")
        case ServerError(code="InvalidObjectState"):
            return UnreadableSource("the object is archived: restore it, then run again")
        case ServerError(status=status, code=code) if status < 500:
            return UnreadableSource(f"the storage rejects the object: {code or status}")
        case ServerError():
            return UnreadableSource(f"the storage failed every time: {_fault(error)}", code="InternalOssError")
    return UnreadableSource(f"the connection failed every time: {_fault(error)}", code="NetworkException")


def _fault(error: BaseException) -> str:
    """Only the kind of an error: the text of network errors quotes whole requests."""
    if isinstance(error, RequestError):
        return type(error.exception).__name__
    if isinstance(error, OssError) and error.code:
        return f"{error.status} {error.code}"
    return str(error.status) if isinstance(error, OssError) else type(error).__name__
