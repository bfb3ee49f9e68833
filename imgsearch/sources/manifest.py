"""The batch manifest ``increment.meta``: one JSON object per line, in today's dialect or that of 2018 (service.md, 9).

The file is streamed line by line, in order; an invalid line becomes a ``Refused`` with its number, and reading
continues.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from imgsearch.errors import ImgsearchError, InputError, InvalidManifest, InvalidValue
from imgsearch.service.categories import parse_category
from imgsearch.sources.jsonl import json_object, numbered_lines, optional_region, optional_text, readable_id
from imgsearch.types import AddPicture, DeletePictures, Refused
from imgsearch.values import SERVICE_NAMES, Attributes, Key, Location, PictureOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgsearch.types import PictureSource

    Locate = Callable[[str], tuple[PictureSource, Location | None]]

__all__ = ["FIELDS", "MANIFEST_NAME", "document_of", "operation_of", "read_manifest"]

MANIFEST_NAME: Final = "increment.meta"

LEGACY_FIELDS: Final = {
    "operator": "OperationType",
    "item_id": "ProductId",
    "pic_list": "PicName",
    "cat_id": "CategoryId",
    "cust_content": "CustomContent",
    "int_attr": "IntAttr",
    "str_attr": "StrAttr",
}
"""From the names of 2018 to today's."""

FIELDS: Final = frozenset(
    {"OperationType", "ProductId", "PicName", "CategoryId", "Region", "Crop", *SERVICE_NAMES.values()}
)


def read_manifest(stream: BinaryIO, name: str, locate: Locate) -> Iterator[AddPicture | DeletePictures | Refused]:
    """The operations of a manifest, in order, holding one line at a time.

    Args:
        stream: the manifest's bytes.
        name: its name in messages.
        locate: maps a PicName to the picture and its location.
    """
    for number, line in numbered_lines(stream):
        source = f"{name}:{number}"
        yield Refused(source, line) if isinstance(line, ImgsearchError) else _operation(line, source, locate)


def _operation(line: bytes, source: str, locate: Locate) -> AddPicture | DeletePictures | Refused:
    try:
        document = document_of(json_object(line))
    except ImgsearchError as error:
        return Refused(source, error)
    return operation_of(document, source, locate)


def operation_of(
    document: dict[str, Any], source: str, locate: Locate, *, is_file: bool = True
) -> AddPicture | DeletePictures | Refused:
    """The operation that an object asks for.

    Args:
        document: with the fields of ``FIELDS``.
        source: where it is from, for messages.
        locate: maps a PicName to the picture and its location.
        is_file: PicName is that of a file in the manifest's folder or below; False: it may be any text.
    """
    try:
        product_id = optional_text(document, "ProductId", "InvalidProductId")
        pic_name = optional_text(document, "PicName", "InvalidPicName")
        if product_id is None:
            raise InvalidValue("the line has no ProductId", code="NoSpecifiedProductId")
        match document.get("OperationType"):
            case "ADD":
                return _add(document, source, product_id, pic_name, locate, is_file=is_file)
            case "DELETE":
                if document.get("PicName") == "":
                    raise InvalidValue(
                        "PicName is empty; leave it out to delete all pictures of the product",
                        code="NoSpecifiedPicName",
                    )
                Key(product_id, pic_name or "any")
                return DeletePictures(source, product_id, pic_name)
            case None:
                raise InvalidManifest("the line has no OperationType; it must be ADD or DELETE")
            case other:
                raise InvalidManifest(f"OperationType {str(other)[:40]!r} is not ADD or DELETE")
    except ImgsearchError as error:
        return Refused(source, error, readable_id(document, "ProductId"), readable_id(document, "PicName"))


def document_of(document: dict[str, Any], more_fields: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The object of one line, with today's field names.

    Args:
        document: in either dialect.
        more_fields: that are known besides.

    Raises:
        InvalidManifest: an unknown field, or several pictures.
    """
    if "operator" in document:
        document = {LEGACY_FIELDS.get(name, name): value for name, value in document.items()}
        names = document.get("PicName")
        if isinstance(names, list):
            if len(names) != 1:
                raise InvalidManifest(f"pic_list must hold exactly one name, not {len(names)}", code="InvalidPicList")
            document["PicName"] = names[0]
    unknown = sorted(set(document) - FIELDS - more_fields)
    if unknown:
        raise InvalidManifest(
            f"unknown field {unknown[0][:40]!r}; known fields are: {', '.join(sorted(FIELDS | more_fields))}"
        )
    return document


def _add(
    document: dict[str, Any],
    source: str,
    product_id: str,
    pic_name: str | None,
    locate: Locate,
    *,
    is_file: bool,
) -> AddPicture:
    if pic_name is None:
        raise InvalidValue("the line has no PicName", code="NoSpecifiedPicName")
    if is_file:
        _check_pic_name(pic_name)
    key = Key(product_id, pic_name)
    attributes = Attributes.from_service_fields(document)
    options = PictureOptions(_category(document), _crop(document), optional_region(document))
    picture, location = locate(pic_name)
    return AddPicture(source, key, picture, options, attributes, location)


def _check_pic_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or name.endswith("/") or ".." in parts or "\\" in name:
        problem = "must be relative to the manifest's folder: no slash at its start or end, no '..', no backslash"
    elif not PurePosixPath(name).suffix:
        problem = "needs its file extension"
    else:
        return
    raise InvalidValue(f"PicName {name[:80]!r} {problem}", code="InvalidPicName")


def _category(document: dict[str, Any]) -> int | None:
    value = document.get("CategoryId")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"CategoryId {str(value)[:40]!r} is not a number", code="InvalidCategory")
    return parse_category(value)


def _crop(document: dict[str, Any]) -> bool:
    value = document.get("Crop")
    if value is None:
        return True
    if not isinstance(value, bool):
        raise InvalidManifest(f"Crop {str(value)[:40]!r} is not true or false")
    return value
