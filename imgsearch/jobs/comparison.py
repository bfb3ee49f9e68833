"""Comparing what is asked for with what is stored: which pictures need not be looked at again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgsearch.service.categories import Kind

if TYPE_CHECKING:
    from imgsearch.types import AddPicture, Item
    from imgsearch.values import PictureOptions

__all__ = ["category_in_use", "is_changed", "is_unchanged", "same_request"]


def is_unchanged(item: Item, operation: AddPicture) -> bool:
    """Whether the source's token says that the picture is the one that was stored."""
    return item.token is not None and operation.picture.token() == item.token


def same_request(item: Item, options: PictureOptions, kind: Kind) -> bool:
    """Whether extracting the same bytes with these options would give what is stored.

    A category that is given does not change the feature; one that has to be predicted is not there to be reused.
    """
    if kind is Kind.PRODUCT and options.category_id is None and item.category_given:
        return False
    if options.region_mode is not item.region_mode:
        return False
    return options.given_region is None or options.given_region == item.region


def category_in_use(item: Item, options: PictureOptions, kind: Kind) -> tuple[int, bool]:
    """The category of a stored picture that is asked for again, and whether it is a given one."""
    if kind is Kind.PRODUCT and options.category_id is not None:
        return options.category_id, True
    return item.category_id, False


def is_changed(item: Item, operation: AddPicture, kind: Kind) -> bool:
    """Whether something else than the picture differs from what is stored: attributes or category."""
    stored = item.attributes, (item.category_id, item.category_given)
    return stored != (operation.attributes, category_in_use(item, operation.options, kind))
