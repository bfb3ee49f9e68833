"""Columns of tables and fields of product feeds (Google Merchant's vocabulary), as the fields of a manifest.

Names are matched without regard to letter case, blanks, hyphens, underscores and the prefix ``g:``.
"""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import InvalidCategory, InvalidManifest, InvalidValue
from imgsearch.service.categories import parse_category
from imgsearch.sources.manifest import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["LINK", "Columns", "canonical", "documents_of", "feed_fields", "is_feed"]

LINK: Final = "Url"
"""The field for the link of a picture whose PicName is not that link."""

ID, GROUP, IMAGE, MORE_IMAGES, TITLE = "id", "item_group_id", "image_link", "additional_image_link", "title"
TYPE, GOOGLE_TYPE = "product_type", "google_product_category"

ALIASES: Final = {
    "operator": "OperationType",
    "itemid": "ProductId",
    "piclist": "PicName",
    "catid": "CategoryId",
    "custcontent": "CustomContent",
    "productid": "ProductId",
    "offerid": ID,
    "additionalimagelinks": MORE_IMAGES,
    "producttypes": TYPE,
}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold().removeprefix("g:")


NAMES: Final = {
    _plain(name): name for name in (*FIELDS, LINK, ID, GROUP, IMAGE, MORE_IMAGES, TITLE, TYPE, GOOGLE_TYPE)
} | ALIASES
NUMBERED_IMAGES: Final = re.compile(r"additionalimagelinks?\d{1,3}")
BETWEEN_LINKS: Final = re.compile(r"\s*,\s*(?=https?:)", re.IGNORECASE)
"""Commas within links stay."""
BETWEEN_TYPES: Final = re.compile(r"[>,|/]")
WHOLE_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,10}")
YES_NO: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
VERBATIM: Final = frozenset({"CustomContent", "StrAttr", "StrAttr2", "StrAttr3", "StrAttr4", TITLE})
"""Fields of which blanks at the ends are kept."""
SOME: Final = 12


def canonical(name: str) -> str | None:
    """The field that a column stands for; None if unknown."""
    plain = _plain(name)
    return MORE_IMAGES if NUMBERED_IMAGES.fullmatch(plain) else NAMES.get(plain)


def is_feed(fields: Iterable[str]) -> bool:
    """Whether an object's fields are those of a product feed."""
    return any(canonical(name) == IMAGE for name in fields)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table."""

    fields: tuple[str | None, ...]
    """The field of each; None: not used."""
    unused: tuple[str, ...]
    """Names of the columns that are not used."""

    @classmethod
    def of(cls, header: list[str]) -> Columns:
        """Read a header.

        Raises:
            InvalidManifest: a column is missing, or there twice.
        """
        fields = tuple(canonical(name) for name in header)
        known = [field for field in fields if field is not None]
        for needed in (("ProductId", ID), ("PicName", LINK, IMAGE, "OperationType")):
            if not set(needed) & set(known):
                raise InvalidManifest(
                    f"the first line of the table is no header that can be used: it has none of the columns "
                    f"{', '.join(needed)}, but {_some(header)}"
                )
        for field in known:
            if known.count(field) > 1 and field != MORE_IMAGES:
                raise InvalidManifest(f"the table has several columns {field}: leave one")
        unused = tuple(name.strip() for name, field in zip(header, fields, strict=True) if field is None)
        return cls(fields, tuple(name for name in unused if name))

    def values(self, row: list[str]) -> dict[str, Any]:
        """The fields of a row that are not empty.

        Args:
            row: as long as the header.

        Raises:
            InvalidManifest: a cell that is used is not UTF-8.
        """
        values: dict[str, Any] = {}
        for field, cell in zip(self.fields, row, strict=True):
            if field is None or not cell or cell.isspace():
                continue
            if not cell.isascii():
                _check_utf8(field, cell)
            if field == MORE_IMAGES:
                values.setdefault(field, []).append(cell)
            else:
                values[field] = _value(field, cell)
        return values


def _check_utf8(field: str, cell: str) -> None:
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise InvalidManifest(f"{field} is not UTF-8: save the table as UTF-8") from None


def _value(field: str, cell: str) -> Any:
    """The value of a cell; one of a wrong type stays text, which is refused later like in any manifest."""
    if field in VERBATIM:
        return cell
    text = cell.strip()
    if field.startswith("IntAttr") and WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if field == "Crop":
        return YES_NO.get(text.lower(), text)
    return text.upper() if field == "OperationType" else text


def feed_fields(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The known fields of an object of a product feed, and the names of the others."""
    values: dict[str, Any] = {}
    unused = []
    for name, value in document.items():
        field = canonical(name)
        if field is None:
            unused.append(name)
        elif field == MORE_IMAGES:
            values.setdefault(field, []).extend(value if isinstance(value, list) else [value])
        elif value is not None and value != "":
            values[field] = value
    return values, unused


def documents_of(values: dict[str, Any], *, by_group: bool) -> list[dict[str, Any]]:
    """The objects of a manifest that a row stands for: one for each picture.

    Args:
        values: known fields.
        by_group: ProductId is ``item_group_id``, if there is one, instead of ``id``.

    Raises:
        InvalidValue: no picture, or links that are not text.
    """
    document = {field: value for field, value in values.items() if field in FIELDS or field == LINK}
    document.setdefault("OperationType", "ADD")
    product_id = (values.get(GROUP) if by_group else None) or values.get(ID)
    if product_id is not None:
        document.setdefault("ProductId", product_id)
    if document["OperationType"] == "ADD":
        if TITLE in values:
            document.setdefault("CustomContent", values[TITLE])
        if document.get("CategoryId") is None:
            category = _named_category(values.get(TYPE)) if TYPE in values else None
            document["CategoryId"] = _named_category(values.get(GOOGLE_TYPE)) if category is None else category
    links = [*_links(values.get(IMAGE), IMAGE), *_links(values.get(MORE_IMAGES), MORE_IMAGES)]
    if not links:
        return [document]
    first, *others = dict.fromkeys(links)
    main = {LINK: first} | document
    base = {field: value for field, value in document.items() if field not in ("PicName", LINK)}
    return [main, *({**base, LINK: link} for link in others)]


def _links(value: Any, field: str) -> list[str]:
    found = []
    for text in value if isinstance(value, list) else [value]:
        if text is None:
            continue
        if not isinstance(text, str):
            raise InvalidValue(f"{field} {reprlib.repr(text)[:40]} is not text", code="InvalidPicName")
        found += [link for part in BETWEEN_LINKS.split(text) if (link := part.strip().strip(","))]
    return found


def _named_category(value: Any) -> int | None:
    """The category that a part of a path such as ``Apparel > Shoes`` is called like; the last such part counts."""
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    for part in reversed(BETWEEN_TYPES.split(" > ".join(texts))):
        name = part.strip()
        if name and not name.isdigit():
            try:
                return parse_category(name)
            except InvalidCategory:
                continue
    return None


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:SOME])
    return shown + (", …" if len(names) > SOME else "")
