"""All errors that imgsearch raises, with their codes and exit codes.

``code`` is the hosted service's error code, if it has a suitable one; ``exit_code`` is the exit status of a command
that the error ends. A picture that fails in a batch reports the same ``code`` in its outcome; the batch continues.

The tree::

    ImgsearchError
    ├── UsageError                       2   BadRequest
    │   ├── InstanceExists               2   InstanceStatusError
    │   ├── NotTunable                   2   InstanceStatusError
    │   └── DeviceUnusable               2   BadRequest
    ├── InputError                       3   BadRequest
    │   ├── PictureError
    │   │   ├── EmptyPicture             3   NoSpecifiedPicContent
    │   │   ├── PictureTooLarge          3   InvalidPicContent
    │   │   ├── UnsupportedPicFormat     3   UnsupportedPicFormat
    │   │   ├── UnsupportedPicPixels     3   UnsupportedPicPixels
    │   │   │   └── MemoryExceeded       3   UnsupportedPicPixels
    │   │   ├── DamagedPicture           3   PictureError
    │   │   └── DecoderFailed            3   PictureError
    │   ├── UnreadableSource             3   PictureError, AccessDenied, TimeoutForTransferImage, InternalOssError, …
    │   │   └── NothingFound             3   PictureError
    │   ├── TooManyDeletions             3   TooManyDeletions
    │   ├── InvalidRegion                3   InvalidRegion
    │   ├── InvalidCategory              3   InvalidCategory
    │   ├── InvalidFilter                3   InvalidFilterClause
    │   ├── InvalidValue                 3   InvalidProductId, InvalidPicName, DuplicateKey, …
    │   ├── InvalidPaging                3   InvalidNumParameter, InvalidStartParameter, OverflowMaxResultNum
    │   ├── InvalidManifest              3   InvalidMetaItem
    │   ├── InvalidExport                3   BadRequest
    │   ├── InvalidGroundTruth           3   BadRequest
    │   └── InvalidModel                 3   BadRequest
    ├── NotFound
    │   ├── InstanceNotFound             4   InvalidInstance
    │   ├── ItemNotFound                 4   PicNotExist
    │   └── InstanceEmpty                4   InstanceStatusError
    ├── InstanceLocked                   5   InstanceStatusError
    ├── InstanceUnusable
    │   ├── InstanceDamaged              6   AccessEngineFailed
    │   ├── NewerFormat                  6   UnsupportedInstanceType
    │   ├── OlderFormat                  6   UnsupportedInstanceType
    │   └── StampMismatch                6   UnsupportedInstanceType
    ├── RemoteError                      7   NetworkException, …: one of RemoteCode
    │   └── RemoteUnavailable            7   NetworkException, AccessDenied
    └── StorageError
        ├── StorageFull                  8   InstanceOverQuota
        ├── StorageUnwritable            8   NoPermission
        └── MemoryRefused                8   InstanceOverQuota
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "DamagedPicture",
    "DecoderFailed",
    "DeviceUnusable",
    "EmptyPicture",
    "ImgsearchError",
    "InputError",
    "InstanceDamaged",
    "InstanceEmpty",
    "InstanceExists",
    "InstanceLocked",
    "InstanceNotFound",
    "InstanceUnusable",
    "InvalidCategory",
    "InvalidExport",
    "InvalidFilter",
    "InvalidGroundTruth",
    "InvalidManifest",
    "InvalidModel",
    "InvalidPaging",
    "InvalidRegion",
    "InvalidValue",
    "ItemNotFound",
    "MemoryExceeded",
    "MemoryRefused",
    "NewerFormat",
    "NotFound",
    "NotTunable",
    "NothingFound",
    "OlderFormat",
    "PictureError",
    "PictureTooLarge",
    "RemoteCode",
    "RemoteError",
    "RemoteUnavailable",
    "StampMismatch",
    "StorageError",
    "StorageFull",
    "StorageUnwritable",
    "TooManyDeletions",
    "UnreadableSource",
    "UnsupportedPicFormat",
    "UnsupportedPicPixels",
    "UsageError",
]


class ImgsearchError(Exception):
    """Base class of all errors; ``str()`` is one line for people."""

    code: str = "InternalError"
    exit_code: int = 70

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """What is wrong and what to do about it, on one line."""
        return str(self)


class UsageError(ImgsearchError):
    """Invalid options or arguments, or a combination that is not allowed."""

    code = "BadRequest"
    exit_code = 2


class InstanceExists(UsageError):
    """``init`` on a folder that holds an instance or other files."""

    code = "InstanceStatusError"


class NotTunable(UsageError):
    """The instance's features cannot be tuned, or there are too few products to learn from."""

    code = "InstanceStatusError"


class DeviceUnusable(UsageError):
    """A device or precision is missing, fails, or its features differ too much from the CPU's."""


class InputError(ImgsearchError):
    """A picture, region, filter, category, manifest or value that cannot be used."""

    code = "BadRequest"
    exit_code = 3


class PictureError(InputError):
    """Base class: the bytes of a picture cannot be used."""

    code = "PictureError"


class EmptyPicture(PictureError):
    """No bytes at all."""

    code = "NoSpecifiedPicContent"


class PictureTooLarge(PictureError):
    """More bytes than the instance's limit."""

    code = "InvalidPicContent"

    @classmethod
    def of(cls, size: int, max_bytes: int) -> PictureTooLarge:
        """For a picture of at least ``size`` bytes; ``max_bytes`` is the smallest refused size."""
        return cls(
            f"the picture has {size:,} bytes or more; this instance accepts fewer than {max_bytes:,}: "
            "scale the picture down, or create an instance with a higher --max-bytes"
        )


class UnsupportedPicFormat(PictureError):
    """Bytes in no supported picture format."""

    code = "UnsupportedPicFormat"


class UnsupportedPicPixels(PictureError):
    """A width, height or number of pixels outside the instance's limits."""

    code = "UnsupportedPicPixels"


class MemoryExceeded(UnsupportedPicPixels):
    """Decoding a picture takes more memory than available, or than allowed for its size."""


class DamagedPicture(PictureError):
    """The header is valid, but the pixels cannot be decoded: truncated or corrupt."""

    code = "PictureError"


class DecoderFailed(PictureError):
    """The decoder, in a separate process, crashed or took too long; only this picture fails."""

    code = "PictureError"


class UnreadableSource(InputError):
    """A file, an object in a bucket or a linked picture is missing, no file, forbidden, or cannot be transferred."""

    code = "PictureError"


class NothingFound(UnreadableSource):
    """A given folder holds no picture."""


class TooManyDeletions(InputError):
    """A synchronisation would delete a larger share of the items than allowed."""

    code = "TooManyDeletions"


class InvalidRegion(InputError):
    """A region that is not ``x1,x2,y1,y2`` inside the upright picture."""

    code = "InvalidRegion"


class InvalidCategory(InputError):
    """Not an id or a name of one of the service's categories."""

    code = "InvalidCategory"


class InvalidFilter(InputError):
    """A filter expression that cannot be parsed."""

    code = "InvalidFilterClause"


class InvalidValue(InputError):
    """An id, name or attribute that is too long, out of range or not text."""


class InvalidPaging(InputError):
    """``num`` or ``start`` out of range."""


class InvalidManifest(InputError):
    """A manifest, or a line of it, that cannot be used."""

    code = "InvalidMetaItem"


class InvalidExport(InputError):
    """A folder of exported items is incomplete or malformed."""


class InvalidGroundTruth(InputError):
    """A labelled folder has nothing to measure or an invalid table."""


class InvalidModel(InputError):
    """A model is unknown, or its weights are missing or do not match."""


class NotFound(ImgsearchError):
    """Base class: what was asked for does not exist."""

    exit_code = 4


class InstanceNotFound(NotFound):
    """No instance in that folder."""

    code = "InvalidInstance"


class ItemNotFound(NotFound):
    """No item with that ProductId and PicName."""

    code = "PicNotExist"


class InstanceEmpty(NotFound):
    """The operation needs at least one item."""

    code = "InstanceStatusError"


class InstanceLocked(ImgsearchError):
    """Another process is writing to the instance, or wrote to it during a read that takes no lock."""

    code = "InstanceStatusError"
    exit_code = 5


class InstanceUnusable(ImgsearchError):
    """Base class: the instance exists but cannot be used as it is."""

    exit_code = 6


class InstanceDamaged(InstanceUnusable):
    """A file of the instance is missing or corrupted."""

    code = "AccessEngineFailed"


class NewerFormat(InstanceUnusable):
    """Written by a newer release."""

    code = "UnsupportedInstanceType"


class OlderFormat(InstanceUnusable):
    """Written by an older release, and not migrated yet; opening it with write permission migrates it."""

    code = "UnsupportedInstanceType"


class StampMismatch(InstanceUnusable):
    """The instance's features come from another model or preprocessing."""

    code = "UnsupportedInstanceType"


class RemoteCode(StrEnum):
    """Why a remote storage cannot be used: each documented cause (service.md, 10.2) has its own code."""

    CREDENTIALS_MISSING = "NoCredentials"
    """No access key, token or machine role was found."""
    UNKNOWN_KEY = "InvalidAccessKeyId"
    """The access key does not exist or is disabled."""
    WRONG_SECRET = "SignatureDoesNotMatch"  # noqa: S105  # a code, no secret
    """The secret does not belong to the access key."""
    TOKEN_EXPIRED = "SecurityTokenExpired"  # noqa: S105  # a code, no secret
    """The security token has expired."""
    TOKEN_INVALID = "InvalidSecurityToken"  # noqa: S105  # a code, no secret
    """The security token is invalid."""
    CLOCK_SKEW = "RequestTimeTooSkewed"
    """This machine's clock differs too much from the storage's."""
    INVALID_ROLE_ARN = "InvalidRoleArn"
    """The role ARN is malformed."""
    ROLE_NOT_FOUND = "RoleNotExist"
    """There is no role with this ARN."""
    ROLE_NOT_ASSUMABLE = "RoleNotAssumable"
    """The caller may not assume the role."""
    ROLE_OF_OTHER_TYPE = "InvalidRoleType"
    """The role's trust policy does not name the caller's account."""
    POLICY_INSUFFICIENT = "AccessDenied"
    """A policy is missing or wrong, or does not cover the path."""
    REGION_MISMATCH = "BucketRegionMismatch"
    """The bucket is in another region than the instance."""
    INVALID_BUCKET = "InvalidBucketName"
    """Not a valid bucket name."""
    BUCKET_NOT_FOUND = "NoSuchBucket"
    """There is no bucket of that name."""
    PATH_NOT_FOUND = "InvalidPath"
    """The path is invalid, or the bucket has no objects under it."""
    MANIFEST_NOT_FOUND = "NoSuchManifest"
    """The path has objects, but no ``increment.meta``."""
    INVALID_ENDPOINT = "InvalidEndpoint"
    """Not an endpoint of the storage."""
    ANSWER_UNKNOWN = "UnsupportedAnswer"
    """The storage answers in a form that cannot be understood."""
    UNAVAILABLE = "NetworkException"
    """The storage cannot be reached or keeps failing."""


class RemoteError(ImgsearchError):
    """The remote storage refuses, is misconfigured or cannot be reached; ``code`` says which."""

    code: str = RemoteCode.UNAVAILABLE
    exit_code = 7


class RemoteUnavailable(RemoteError):
    """The server of an instance's items or index cannot be reached, or refuses; nothing acknowledged is lost."""


class StorageError(ImgsearchError):
    """Base class: data cannot be written to disk."""

    exit_code = 8


class StorageFull(StorageError):
    """No space (or quota) left."""

    code = "InstanceOverQuota"


class StorageUnwritable(StorageError):
    """A read-only medium, missing permission or a failing device."""

    code = "NoPermission"


class MemoryRefused(StorageError):
    """The system gives this process no more memory or threads; nothing acknowledged is lost."""

    code = "InstanceOverQuota"
