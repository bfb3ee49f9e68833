"""The operations of the service's API and their parameters (version 2020-12-14), as its SDK 4.4.0 sends them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = [
    "FORM",
    "OPERATIONS",
    "ROA_PATHS",
    "ROA_SEARCH",
    "ROA_VERSION",
    "VERSION",
    "Operation",
    "Parameter",
    "ParameterType",
]

VERSION: Final = "2020-12-14"
ROA_VERSION: Final = "2019-03-25"
FORM: Final = "application/x-www-form-urlencoded"
"""The content type of all requests but uploads."""


class ParameterType(StrEnum):
    """The type of a value; all are sent as text."""

    TEXT = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    PICTURE = "picture"
    """Base64, or the link that an upload was answered with."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation; SDKs send it in the form unless it is named for the query."""

    name: str
    type: ParameterType = ParameterType.TEXT
    required: bool = False
    in_query: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation."""

    name: str
    parameters: tuple[Parameter, ...]
    writes: bool = False
    """It needs a key that may write."""

    def parameter(self, name: str) -> Parameter | None:
        """The parameter of that name."""
        return next((one for one in self.parameters if one.name == name), None)


def _of(text: str, kind: ParameterType = ParameterType.TEXT) -> tuple[Parameter, ...]:
    """Parameters by name; ``!`` marks a required one, ``?`` one that SDKs send in the query."""
    return tuple(Parameter(name.strip("!?"), kind, "!" in name, "?" in name) for name in text.split())


def _integers(text: str) -> tuple[Parameter, ...]:
    return _of(text, ParameterType.INTEGER)


_INSTANCE: Final = _of("InstanceName!")
_QUERY_INSTANCE: Final = _of("InstanceName!?")
_KEY: Final = _of("ProductId! PicName!")
_PICTURE: Final = (
    *_of("PicContent!", ParameterType.PICTURE),
    *_integers("CategoryId"),
    *_of("Crop", ParameterType.BOOLEAN),
    *_of("Region"),
)
_DISTINCT: Final = _of("DistinctProductId", ParameterType.BOOLEAN)
_PAGE: Final = (*_integers("Num Start"), *_of("Filter"))
_THRESHOLD: Final = _of("ScoreThreshold?", ParameterType.NUMBER)
_ATTRIBUTES: Final = (
    *_of("CustomContent StrAttr StrAttr2 StrAttr3 StrAttr4"),
    *_integers("IntAttr IntAttr2 IntAttr3 IntAttr4"),
)
_CHANGES: Final = (
    *_of("CustomContent StrAttr StrAttr2 StrAttr3? StrAttr4?"),
    *_integers("IntAttr IntAttr2 IntAttr3? IntAttr4?"),
)
_TASK_PAGE: Final = _integers("Id? PageNumber? PageSize?")

OPERATIONS: Final = {
    operation.name: operation
    for operation in (
        Operation("AddImage", (*_INSTANCE, *_KEY, *_PICTURE, *_ATTRIBUTES), writes=True),
        Operation("UpdateImage", (*_INSTANCE, *_KEY, *_CHANGES), writes=True),
        Operation(
            "DeleteImage",
            (*_INSTANCE, *_of("ProductId PicName Filter"), *_of("IsDeleteByFilter", ParameterType.BOOLEAN)),
            writes=True,
        ),
        Operation("SearchImageByPic", (*_INSTANCE, *_PICTURE, *_PAGE, *_DISTINCT, *_THRESHOLD)),
        Operation("SearchImageByName", (*_INSTANCE, *_KEY, *_integers("CategoryId"), *_PAGE, *_DISTINCT, *_THRESHOLD)),
        Operation("SearchImageByText", (*_INSTANCE, *_of("Text!"), *_PAGE, *_DISTINCT, *_THRESHOLD)),
        Operation("SearchImageByFilter", (*_INSTANCE, *_of("Filter!"), *_integers("Num Start"))),
        Operation("CheckImageExists", (*_INSTANCE, *_KEY)),
        Operation(
            "CompareSimilarByImage",
            (*_INSTANCE, *_of("PrimaryPicContent! SecondaryPicContent!", ParameterType.PICTURE)),
        ),
        Operation("Detail", _QUERY_INSTANCE),
        Operation("IncreaseInstance", (*_QUERY_INSTANCE, *_of("BucketName!? Path!? CallbackAddress?")), writes=True),
        Operation("IncreaseList", (*_QUERY_INSTANCE, *_of("BucketName? Path?"), *_TASK_PAGE)),
        Operation("DumpMeta", _QUERY_INSTANCE, writes=True),
        Operation("DumpMetaList", (*_QUERY_INSTANCE, *_TASK_PAGE)),
    )
}
"""By name (``Action``)."""

ROA_PATHS: Final = {"/v2/image/add": "AddImage", "/v2/image/delete": "DeleteImage"}
"""Of version 2019-03-25."""
ROA_SEARCH: Final = "/v2/image/search"
"""Its parameter Type says which search it is."""
