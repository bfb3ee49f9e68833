"""Every error that imgsearch raises on purpose, each with its code and its exit code.

``code`` is the hosted service's error code where it has one that fits; ``exit_code`` is what the command line ends
with when the error ends the command. A failed picture of a batch carries the same ``code`` in its outcome and does not
end the batch.

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
    │   ├── InvalidRegion                3   InvalidRegion
    │   ├── InvalidCategory              3   InvalidCategory
    │   ├── InvalidFilter                3   InvalidFilterClause
    │   ├── InvalidValue                 3   InvalidProductId, InvalidPicName, InvalidIntAttr, …
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
    └── StorageError
        ├── StorageFull                  8   InstanceOverQuota
        └── StorageUnwritable            8   NoPermission
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
    "NewerFormat",
    "NotFound",
    "NotTunable",
    "OlderFormat",
    "PictureError",
    "PictureTooLarge",
    "RemoteCode",
    "RemoteError",
    "StampMismatch",
    "StorageError",
    "StorageFull",
    "StorageUnwritable",
    "UnreadableSource",
    "UnsupportedPicFormat",
    "UnsupportedPicPixels",
    "UsageError",
]


class ImgsearchError(Exception):
    """Base of all errors raised on purpose; ``str()`` is one line for people."""

    code: str = "InternalError"
    exit_code: int = 70

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """What is wrong, with what, and what to do about it, on one line."""
        return str(self)


class UsageError(ImgsearchError):
    """Options or arguments that do not go together."""

    code = "BadRequest"
    exit_code = 2


class InstanceExists(UsageError):
    """``init`` on a folder that holds an instance or something else."""

    code = "InstanceStatusError"


class NotTunable(UsageError):
    """The instance's features cannot be tuned, or there is too little to learn from."""

    code = "InstanceStatusError"


class DeviceUnusable(UsageError):
    """A device or a precision that is not there, does not work, or gives features too far from those of the CPU."""


class InputError(ImgsearchError):
    """A picture, region, filter, category, manifest or value that cannot be used."""

    code = "BadRequest"
    exit_code = 3


class PictureError(InputError):
    """Base of everything that is wrong with the bytes of one picture."""

    code = "PictureError"


class EmptyPicture(PictureError):
    """No bytes at all."""

    code = "NoSpecifiedPicContent"


class PictureTooLarge(PictureError):
    """More bytes than the instance's limit."""

    code = "InvalidPicContent"

    @classmethod
    def of(cls, size: int, max_bytes: int) -> PictureTooLarge:
        """For a picture of ``size`` bytes (or at least so many) where ``max_bytes`` is the first size refused."""
        return cls(
            f"the picture has {size:,} bytes or more; the limit of this instance is below {max_bytes:,}: "
            "scale the picture down, or make an instance with a higher --max-bytes"
        )


class UnsupportedPicFormat(PictureError):
    """Bytes that are none of the supported picture formats."""

    code = "UnsupportedPicFormat"


class UnsupportedPicPixels(PictureError):
    """A width, height or number of pixels outside the instance's limits."""

    code = "UnsupportedPicPixels"


class MemoryExceeded(UnsupportedPicPixels):
    """A picture that takes more memory than there is, or than one of its size may take."""


class DamagedPicture(PictureError):
    """The header is fine, the pixels cannot be decoded: cut off or corrupt."""

    code = "PictureError"


class DecoderFailed(PictureError):
    """A picture whose decoder crashed or took too long, in a process of its own: nothing else is lost."""

    code = "PictureError"


class UnreadableSource(InputError):
    """A file or an object in a bucket that is missing, is no file, may not be read, or does not come."""

    code = "PictureError"


class InvalidRegion(InputError):
    """A region that is not ``x1,x2,y1,y2`` inside the upright picture."""

    code = "InvalidRegion"


class InvalidCategory(InputError):
    """A category that is none of the service's ids or names."""

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
    """A folder of exported items that is not whole, or not in the form of one."""


class InvalidGroundTruth(InputError):
    """A labelled folder in which there is nothing to measure, or a table of it that cannot be used."""


class InvalidModel(InputError):
    """A model that is unknown, or whose weights cannot be had or do not fit."""


class NotFound(ImgsearchError):
    """Base of: the thing that was asked for is not there."""

    exit_code = 4


class InstanceNotFound(NotFound):
    """No instance in that folder."""

    code = "InvalidInstance"


class ItemNotFound(NotFound):
    """No item with that ProductId and PicName."""

    code = "PicNotExist"


class InstanceEmpty(NotFound):
    """An operation that needs at least one item."""

    code = "InstanceStatusError"


class InstanceLocked(ImgsearchError):
    """Another process is writing to the instance, or has just done so under a reader who could not lock it out."""

    code = "InstanceStatusError"
    exit_code = 5


class InstanceUnusable(ImgsearchError):
    """Base of: the instance is there and cannot be used as it is."""

    exit_code = 6


class InstanceDamaged(InstanceUnusable):
    """A file of the instance is missing or is not what was written."""

    code = "AccessEngineFailed"


class NewerFormat(InstanceUnusable):
    """Written by a later release."""

    code = "UnsupportedInstanceType"


class OlderFormat(InstanceUnusable):
    """Written by an earlier release: it is migrated by whoever opens it and may write, and not read before."""

    code = "UnsupportedInstanceType"


class StampMismatch(InstanceUnusable):
    """The instance's features come from another model or another preprocessing."""

    code = "UnsupportedInstanceType"


class RemoteCode(StrEnum):
    """Why a remote storage cannot be used: each documented cause (service.md, 10.2) has a code of its own."""

    CREDENTIALS_MISSING = "NoCredentials"
    """No access key, token or role of the machine was found anywhere."""
    UNKNOWN_KEY = "InvalidAccessKeyId"
    """An access key that does not exist or is disabled."""
    WRONG_SECRET = "SignatureDoesNotMatch"  # noqa: S105  # a code, no secret
    """A secret that does not belong to the access key."""
    TOKEN_EXPIRED = "SecurityTokenExpired"  # noqa: S105  # a code, no secret
    """A security token that was valid."""
    TOKEN_INVALID = "InvalidSecurityToken"  # noqa: S105  # a code, no secret
    """A security token that was never valid."""
    CLOCK_SKEW = "RequestTimeTooSkewed"
    """This machine's clock is too far from the storage's for a signature to count."""
    INVALID_ROLE_ARN = "InvalidRoleArn"
    """A role ARN that is none."""
    ROLE_NOT_FOUND = "RoleNotExist"
    """A role ARN that names no role."""
    ROLE_NOT_ASSUMABLE = "RoleNotAssumable"
    """The caller may not assume the role."""
    ROLE_OF_OTHER_TYPE = "InvalidRoleType"
    """A role whose trust policy names another service or account than the caller's."""
    POLICY_INSUFFICIENT = "AccessDenied"
    """A policy is missing, wrong, or gives no rights on that path."""
    REGION_MISMATCH = "BucketRegionMismatch"
    """A bucket in another region than the instance."""
    INVALID_BUCKET = "InvalidBucketName"
    """A name that no bucket can have."""
    BUCKET_NOT_FOUND = "NoSuchBucket"
    """There is no bucket of that name."""
    PATH_NOT_FOUND = "InvalidPath"
    """There is nothing under that path of the bucket, or it cannot be a path."""
    MANIFEST_NOT_FOUND = "NoSuchManifest"
    """The path has objects, and no ``increment.meta`` among them."""
    INVALID_ENDPOINT = "InvalidEndpoint"
    """An address that is none of the storage's."""
    UNAVAILABLE = "NetworkException"
    """The storage cannot be reached, or answers with nothing but its own faults."""


class RemoteError(ImgsearchError):
    """The remote storage refuses, is misconfigured or cannot be reached; ``code`` says which."""

    code: str = RemoteCode.UNAVAILABLE
    exit_code = 7


class StorageError(ImgsearchError):
    """Base of: the disk does not take what has to be written."""

    exit_code = 8


class StorageFull(StorageError):
    """No space (or quota) left."""

    code = "InstanceOverQuota"


class StorageUnwritable(StorageError):
    """A read-only medium, missing permission or a failing device."""

    code = "NoPermission"
