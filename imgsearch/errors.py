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
    ├── RemoteError
    │   ├── CredentialsMissing           7   NoCredentials
    │   ├── UnknownKey                   7   InvalidAccessKeyId
    │   ├── WrongSecret                  7   SignatureDoesNotMatch
    │   ├── TokenRefused                 7   SecurityTokenExpired, InvalidSecurityToken
    │   ├── ClockSkew                    7   RequestTimeTooSkewed
    │   ├── InvalidRoleArn               7   InvalidRoleArn
    │   ├── RoleNotFound                 7   RoleNotExist
    │   ├── RoleNotAssumable             7   RoleNotAssumable
    │   ├── RoleOfOtherType              7   InvalidRoleType
    │   ├── PolicyInsufficient           7   AccessDenied
    │   ├── RegionMismatch               7   BucketRegionMismatch
    │   ├── InvalidBucket                7   InvalidBucketName
    │   ├── BucketNotFound               7   NoSuchBucket
    │   ├── PathNotFound                 7   InvalidPath
    │   ├── ManifestNotFound             7   NoSuchManifest
    │   ├── InvalidEndpoint              7   InvalidEndpoint
    │   └── RemoteUnavailable            7   NetworkException
    └── StorageError
        ├── StorageFull                  8   InstanceOverQuota
        └── StorageUnwritable            8   NoPermission
"""

from __future__ import annotations

__all__ = [
    "BucketNotFound",
    "ClockSkew",
    "CredentialsMissing",
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
    "InvalidBucket",
    "InvalidCategory",
    "InvalidEndpoint",
    "InvalidExport",
    "InvalidFilter",
    "InvalidGroundTruth",
    "InvalidManifest",
    "InvalidModel",
    "InvalidPaging",
    "InvalidRegion",
    "InvalidRoleArn",
    "InvalidValue",
    "ItemNotFound",
    "ManifestNotFound",
    "MemoryExceeded",
    "NewerFormat",
    "NotFound",
    "NotTunable",
    "OlderFormat",
    "PathNotFound",
    "PictureError",
    "PictureTooLarge",
    "PolicyInsufficient",
    "RegionMismatch",
    "RemoteError",
    "RemoteUnavailable",
    "RoleNotAssumable",
    "RoleNotFound",
    "RoleOfOtherType",
    "StampMismatch",
    "StorageError",
    "StorageFull",
    "StorageUnwritable",
    "TokenRefused",
    "UnknownKey",
    "UnreadableSource",
    "UnsupportedPicFormat",
    "UnsupportedPicPixels",
    "UsageError",
    "WrongSecret",
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


class RemoteError(ImgsearchError):
    """Base of: the remote storage refuses or is misconfigured, each documented cause (service.md, 10.2) by itself."""

    code = "InternalOssError"
    exit_code = 7


class CredentialsMissing(RemoteError):
    """No access key, token or role of the machine was found anywhere."""

    code = "NoCredentials"


class UnknownKey(RemoteError):
    """An access key that does not exist or is disabled."""

    code = "InvalidAccessKeyId"


class WrongSecret(RemoteError):
    """A secret that does not belong to the access key."""

    code = "SignatureDoesNotMatch"


class TokenRefused(RemoteError):
    """A security token that has expired, or that was never valid (``InvalidSecurityToken``)."""

    code = "SecurityTokenExpired"


class ClockSkew(RemoteError):
    """This machine's clock is too far from the storage's for a signature to count."""

    code = "RequestTimeTooSkewed"


class InvalidRoleArn(RemoteError):
    """A role ARN that is none."""

    code = "InvalidRoleArn"


class RoleNotFound(RemoteError):
    """A role ARN that names no role."""

    code = "RoleNotExist"


class RoleNotAssumable(RemoteError):
    """The caller may not assume the role."""

    code = "RoleNotAssumable"


class RoleOfOtherType(RemoteError):
    """A role whose trust policy names another service or account than the caller's."""

    code = "InvalidRoleType"


class PolicyInsufficient(RemoteError):
    """A policy is missing, wrong, or gives no rights on that path."""

    code = "AccessDenied"


class RegionMismatch(RemoteError):
    """A bucket in another region than the instance."""

    code = "BucketRegionMismatch"


class InvalidBucket(RemoteError):
    """A name that no bucket can have."""

    code = "InvalidBucketName"


class BucketNotFound(RemoteError):
    """There is no bucket of that name."""

    code = "NoSuchBucket"


class PathNotFound(RemoteError):
    """There is nothing under that path of the bucket, or it cannot be a path."""

    code = "InvalidPath"


class ManifestNotFound(RemoteError):
    """The path has objects, and no ``increment.meta`` among them."""

    code = "NoSuchManifest"


class InvalidEndpoint(RemoteError):
    """An address that is none of the storage's."""

    code = "InvalidEndpoint"


class RemoteUnavailable(RemoteError):
    """The storage cannot be reached, or answers with nothing but its own faults."""

    code = "NetworkException"


class StorageError(ImgsearchError):
    """Base of: the disk does not take what has to be written."""

    exit_code = 8


class StorageFull(StorageError):
    """No space (or quota) left."""

    code = "InstanceOverQuota"


class StorageUnwritable(StorageError):
    """A read-only medium, missing permission or a failing device."""

    code = "NoPermission"
