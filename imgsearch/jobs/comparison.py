"""Comparing requests with stored items: which pictures need no extraction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imgsearch.service.categories import Kind
from imgsearch.values import Attributes

if TYPE_CHECKING:
    from imgsearch.types import AddPicture, Item
    from imgsearch.values import PictureOptions

__all__ = ["category_in_use", "is_changed", "is_unchanged", "keeping", "same_request"]


def is_unchanged(item: Item, operation: AddPicture) -> bool:
    """Whether the source's token shows that the picture is the stored one."""
    return item.token is not None and operation.picture.token() == item.token


def same_request(item: Item, options: PictureOptions, kind: Kind) -> bool:
    """Whether extracting the same bytes with these options would give the stored result.

    A given category does not affect the feature; if it must be predicted, a stored given one cannot be reused.
    """
    if kind is Kind.PRODUCT and options.category_id is None and item.category_given:
        return False
    if options.region_mode is not item.region_mode:
        return False
    return options.given_region is None or options.given_region == item.region


def category_in_use(item: Item, options: PictureOptions, kind: Kind) -> tuple[int, bool]:
    """The category of a stored picture for a new request, and whether it is given."""
    if kind is Kind.PRODUCT and options.category_id is not None:
        return options.category_id, True
    return item.category_id, False


def is_changed(item: Item, operation: AddPicture, kind: Kind) -> bool:
    """Whether attributes or category differ from those stored."""
    stored = item.attributes, (item.category_id, item.category_given)
    return stored != (operation.attributes, category_in_use(item, operation.options, kind))


def keeping(operation: AddPicture, item: Item) -> AddPicture:
    """The operation with an item's attributes and given category, where it names none itself."""
    options, attributes = operation.options, operation.attributes
    if attributes == Attributes():
        attributes = item.attributes
    if options.category_id is None and item.category_given:
        options = replace(options, category_id=item.category_id)
    return replace(operation, options=options, attributes=attributes)
