"""The batch manifest ``increment.meta``: one JSON object per line, in today's dialect or that of 2018 (service.md, 9).

The file is read as a stream, in order, line by line; a line that cannot be used becomes a ``Refused`` that names its
number, and the rest goes on.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from imgsearch.categories import parse_category
from imgsearch.errors import ImgsearchError, InputError, InvalidManifest, InvalidRegion, InvalidValue, UnreadableSource
from imgsearch.records import (
    MAX_ID_CHARS,
    SERVICE_NAMES,
    AddPicture,
    Attributes,
    DeletePictures,
    Key,
    Location,
    PictureOptions,
    Refused,
    Region,
    check_text,
)
from imgsearch.sources.files import FilePicture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgsearch.records import PictureSource

__all__ = ["MANIFEST_NAME", "operations", "read_manifest"]

MANIFEST_NAME: Final = "increment.meta"
MAX_LINE_BYTES: Final = 8 * 1024 * 1024
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

LEGACY_FIELDS: Final = {
    "operator": "OperationType",
    "item_id": "ProductId",
    "pic_list": "PicName",
    "cat_id": "CategoryId",
    "cust_content": "CustomContent",
    "int_attr": "IntAttr",
    "str_attr": "StrAttr",
}
"""2018 name to today's."""

FIELDS: Final = frozenset(
    {"OperationType", "ProductId", "PicName", "CategoryId", "Region", "Crop", *SERVICE_NAMES.values()}
)


def operations(path: Path) -> Iterator[AddPicture | DeletePictures | Refused]:
    """The operations of a local manifest, whose pictures lie beside it or in folders below.

    Raises:
        UnreadableSource: there is no such file.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise UnreadableSource(f"the manifest {path} cannot be read: {error.strerror}") from None
    folder = path.resolve().parent
    with stream:
        yield from read_manifest(stream, str(path), lambda name: (FilePicture(folder / name), Location(str(folder))))


def read_manifest(
    stream: BinaryIO, name: str, locate: Callable[[str], tuple[PictureSource, Location | None]]
) -> Iterator[AddPicture | DeletePictures | Refused]:
    """The operations of a manifest, in order, without holding more than one line.

    Args:
        stream: the manifest's bytes.
        name: how people know it, for messages.
        locate: from a PicName to the picture, and to where its owner keeps it.
    """
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        source = f"{name}:{number}"
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
            yield Refused(source, InvalidManifest(f"the line is longer than {MAX_LINE_BYTES:,} bytes"))
            continue
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if line.strip():
            yield _operation(line, source, locate)


def _operation(
    line: bytes, source: str, locate: Callable[[str], tuple[PictureSource, Location | None]]
) -> AddPicture | DeletePictures | Refused:
    document: dict[str, Any] = {}
    try:
        document = _document(line)
        product_id = _text(document, "ProductId", "InvalidProductId")
        pic_name = _text(document, "PicName", "InvalidPicName")
        if product_id is None:
            raise InvalidValue("the line has no ProductId", code="NoSpecifiedProductId")
        match document.get("OperationType"):
            case "ADD":
                return _add(document, source, product_id, pic_name, locate)
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
        return Refused(source, error, _id(document, "ProductId"), _id(document, "PicName"))


def _id(document: dict[str, Any], field: str) -> str | None:
    """For telling which item failed; None where it cannot be one, such as half a surrogate pair that JSON let pass."""
    value = document.get(field)
    if not isinstance(value, str):
        return None
    try:
        check_text(value, "", field, MAX_ID_CHARS)
    except InvalidValue:
        return None
    return value


def _document(line: bytes) -> dict[str, Any]:
    """The object of one line, under today's field names."""
    try:
        document, end = json.JSONDecoder().raw_decode(text := line.decode("utf-8").strip())
    except UnicodeDecodeError:
        raise InvalidManifest("the line is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"the line is not a JSON object: {str(error)[:100]}") from None
    if text[end:].strip():
        raise InvalidManifest("the line holds more than one object; put each on a line of its own")
    if not isinstance(document, dict):
        raise InvalidManifest("the line is not a JSON object")
    if "operator" in document:
        document = {LEGACY_FIELDS.get(name, name): value for name, value in document.items()}
        names = document.get("PicName")
        if isinstance(names, list):
            if len(names) != 1:
                raise InvalidManifest(f"pic_list must hold exactly one name, not {len(names)}", code="InvalidPicList")
            document["PicName"] = names[0]
    unknown = sorted(set(document) - FIELDS)
    if unknown:
        raise InvalidManifest(f"unknown field {unknown[0][:40]!r}; known are: {', '.join(sorted(FIELDS))}")
    return document


def _add(
    document: dict[str, Any],
    source: str,
    product_id: str,
    pic_name: str | None,
    locate: Callable[[str], tuple[PictureSource, Location | None]],
) -> AddPicture:
    if pic_name is None:
        raise InvalidValue("the line has no PicName", code="NoSpecifiedPicName")
    _check_pic_name(pic_name)
    key = Key(product_id, pic_name)
    attributes = Attributes.from_service_fields(document)
    options = PictureOptions(_category(document), _crop(document), _region(document))
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


def _text(document: dict[str, Any], field: str, code: str) -> str | None:
    value = document.get(field)
    if value is not None and not isinstance(value, str):
        raise InvalidValue(f"{field} {str(value)[:40]!r} is not text", code=code)
    return value or None


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


def _region(document: dict[str, Any]) -> Region | None:
    value = document.get("Region")
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidRegion(f"Region {str(value)[:40]!r} is not text 'x1,x2,y1,y2'")
    return Region.parse(value)
