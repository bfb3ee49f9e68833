"""Changing metadata of stored items, which needs no picture."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from imgsearch.errors import InvalidCategory, UsageError
from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import named_condition
from imgsearch.jobs.applying import bring_index_up_to_date
from imgsearch.opened import absent, no_product
from imgsearch.service.categories import Kind, check_category, parse_category
from imgsearch.values import ATTRIBUTE_COLUMNS, Attributes, Key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imgsearch.filters.tree import Condition
    from imgsearch.opened import Opened
    from imgsearch.storage.port import Storage, Truth
    from imgsearch.types import Item

__all__ = ["Changes", "changes_of", "selected", "update_items", "updated"]


@dataclass(frozen=True, slots=True)
class Changes:
    """New values of attributes and category; everything that is not named keeps its value.

    Raises:
        UsageError: nothing is to be changed, or an attribute does not exist.
        InvalidValue, InvalidCategory
    """

    attributes: Mapping[str, Any] = field(default_factory=dict)
    """By the names in filters (``str_attr2``); None unsets one."""
    category_id: int | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.attributes).difference(ATTRIBUTE_COLUMNS))
        if unknown:
            raise UsageError(f"there is no attribute {unknown[0]!r}; it is one of: {', '.join(ATTRIBUTE_COLUMNS)}")
        if not self.attributes and self.category_id is None:
            raise UsageError("nothing to change: give an attribute, a category, or an attribute to unset")
        valid = Attributes(**self.attributes)
        object.__setattr__(self, "attributes", {name: getattr(valid, name) for name in self.attributes})
        check_category(self.category_id)

    def applied(self, attributes: Attributes) -> Attributes:
        """These attributes, changed."""
        return replace(attributes, **self.attributes)

    def changes(self, item: Item) -> bool:
        """Whether an item would differ afterwards."""
        return self.changes_category(item) or self.applied(item.attributes) != item.attributes

    def changes_category(self, item: Item) -> bool:
        """Whether its category would be another one, or be given where it was predicted."""
        return self.category_id is not None and (self.category_id, True) != (item.category_id, item.category_given)


def changes_of(
    opened: Opened, attributes: Mapping[str, int | str | None] | None, category: int | str | None
) -> Changes:
    """The changes that are asked for.

    Raises:
        UsageError, InvalidValue
        InvalidCategory: also for an instance without categories.
    """
    changes = Changes(attributes or {}, None if category is None else parse_category(category))
    if changes.category_id is not None and opened.kind is Kind.GENERIC:
        raise InvalidCategory(f"{opened.folder} is a generic instance, whose items have no categories")
    return changes


def selected(opened: Opened, expression: str | None, product_id: str | None, pic_name: str | None) -> Condition:
    """Items selected by a filter or by their key, of which there must be one.

    Raises:
        UsageError, InvalidFilter, InvalidValue, ItemNotFound
    """
    if (expression is None) == (product_id is None) or (pic_name is not None and product_id is None):
        raise UsageError("give either a filter, or a product and possibly one of its pictures")
    if product_id is None:
        assert expression is not None
        return parse_filter(expression)
    key = Key(product_id, "any" if pic_name is None else pic_name)
    condition = named_condition(product_id, pic_name)
    with opened.reading() as engine:
        if not engine.store.count(condition):
            raise no_product(product_id, opened.folder) if pic_name is None else absent(key, opened.folder)
    return condition


def update_items(
    opened: Opened, condition: Condition, changes: Changes, *, dry_run: bool = False, lock_timeout: float = 0.0
) -> list[Key]:
    """Change all items that meet a condition, in one commit; see ``Instance.update``.

    Returns:
        The keys of the items that differ afterwards, in the order of addition.

    Raises:
        InstanceLocked, InstanceDamaged, StorageFull, StorageUnwritable
    """
    if dry_run:
        with opened.reading() as engine, engine.store.reading():
            return [item.key for item in engine.store.items(condition) if changes.changes(item)]
    with opened.writing(lock_timeout) as engine:
        return updated(engine, condition, changes)


def updated(engine: Storage, condition: Condition, changes: Changes) -> list[Key]:
    """Change all items that meet a condition, in one commit; returns the keys of those that differ afterwards.

    Args:
        engine: whose lock the caller holds.
        condition: selects the items.
        changes: checked for this instance.

    Raises:
        InstanceDamaged, StorageFull, StorageUnwritable
    """
    with engine.committing() as store:
        keys = list(_changed(store, condition, changes))
    if changes.category_id is not None:
        bring_index_up_to_date(engine)  # an item of another category is a new one
    return keys


def _changed(store: Truth, condition: Condition, changes: Changes) -> Iterator[Key]:
    together: list[int] = []
    for item in store.items(condition):
        if not changes.changes(item):
            continue
        if changes.changes_category(item):
            assert changes.category_id is not None
            store.update(item, changes.applied(item.attributes), changes.category_id, True, None)
        else:
            together.append(item.id)
        yield item.key
    if together:
        store.set_attributes(together, changes.attributes)
