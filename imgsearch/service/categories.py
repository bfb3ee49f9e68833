"""The service's category table: ids, names, and accepted spellings."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from imgsearch.errors import InvalidCategory

__all__ = ["CATEGORIES", "OTHER", "Kind", "check_category", "parse_category"]

OTHER: Final = 88888888
"""The category of all items in a generic instance, and of items without a better one in a product instance."""

CATEGORIES: Final[dict[int, str]] = {
    0: "Tops",
    1: "Dress",
    2: "Bottoms",
    3: "Bag",
    4: "Shoes",
    5: "Accessories",
    6: "Snack",
    7: "Makeup",
    8: "Bottle",
    9: "Furniture",
    20: "Toy",
    21: "Underwear",
    22: "Digital device",
    OTHER: "Other",
}
"""Id to name as API responses spell it (service.md, section 5)."""

_HELP_PAGE_NAMES: Final = {"snacks": 6, "makeups": 7, "bottle drink": 8, "others": OTHER}
"""Alternative names in the service's help pages."""

_BY_NAME: Final = {name.casefold(): number for number, name in CATEGORIES.items()} | _HELP_PAGE_NAMES


class Kind(StrEnum):
    """The kind of an instance: with or without categories."""

    PRODUCT = "product"
    GENERIC = "generic"

    def category_table(self) -> dict[int, str]:
        """The categories that items of such an instance can have."""
        return CATEGORIES if self is Kind.PRODUCT else {OTHER: CATEGORIES[OTHER]}


def check_category(category_id: int | None) -> None:
    """Refuse a number that is no category's; None is none at all.

    Raises:
        InvalidCategory
    """
    if category_id is not None and category_id not in CATEGORIES:
        raise InvalidCategory(f"category {category_id} does not exist; it is one of: {_known()}")


def parse_category(value: str | int) -> int:
    """Return the category id for an id or a name in any letter case.

    Raises:
        InvalidCategory: it is neither.
    """
    if type(value) is int and value in CATEGORIES:
        return value
    text = str(value).strip()
    number = _BY_NAME.get(text.casefold().replace("_", " ").replace("-", " "))
    if number is None and text.isascii() and text.isdigit():
        number = int(text) if int(text) in CATEGORIES else None
    if number is None:
        raise InvalidCategory(f"category {text[:40]!r} does not exist; it is one of: {_known()}")
    return number


def _known() -> str:
    return ", ".join(f"{known_id} {name}" for known_id, name in CATEGORIES.items())
