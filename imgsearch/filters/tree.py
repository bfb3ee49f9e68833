"""Conditions that items may meet, as a tree that knows nothing of any storage.

Each storage compiles these to its own queries. A field that is not set meets no comparison, ``!=`` and ``not in``
included; the fields of an item that are no attribute are always set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from imgsearch.values import ATTRIBUTE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.values import Region

    Operator = Literal["=", "!=", "<", "<=", ">", ">="]
    Value = int | str | bytes | Region

__all__ = [
    "EVERYTHING",
    "And",
    "Compare",
    "Condition",
    "Everything",
    "Not",
    "OneOf",
    "Or",
    "category_condition",
    "is_of_attributes",
    "picture_condition",
    "product_condition",
]


class Condition:
    """What an item meets or does not; immutable, and equal to every other one that says the same in the same way."""

    __slots__ = ()

    def joined(self, *others: Condition) -> Condition:
        """This and the others."""
        return And((self, *others)) if others else self

    def negated(self) -> Condition:
        """The opposite, for items of which this is either true or false (no field of it is unset)."""
        return Not(self)


@dataclass(frozen=True, slots=True)
class Everything(Condition):
    """Met by every item."""


@dataclass(frozen=True, slots=True)
class Compare(Condition):
    """A field compared with a value."""

    field: str
    """An attribute, as ``ATTRIBUTE_COLUMNS`` names it; or one of ``product_id``, ``pic_name``, ``content_hash``,
    ``region``, which are compared for equality only."""
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class OneOf(Condition):
    """A field that has one of some values, or none of them; with ``category_id`` as a further field."""

    field: str
    values: tuple[int, ...] | tuple[str, ...]
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class And(Condition):
    """All parts are met; at least two."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or(Condition):
    """A part is met; at least two."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """A part is not met."""

    part: Condition


EVERYTHING: Final = Everything()


def product_condition(product_id: str, pic_name: str | None = None) -> Condition:
    """All pictures of a product, or the one with that name."""
    of_product = Compare("product_id", "=", product_id)
    return of_product if pic_name is None else of_product.joined(Compare("pic_name", "=", pic_name))


def category_condition(category_ids: tuple[int, ...]) -> Condition:
    """Items of exactly these categories."""
    return OneOf("category_id", category_ids)


def picture_condition(content_hash: bytes, region: Region | None = None) -> Condition:
    """Items made from the very same bytes; with a region, from that region of them only."""
    same = Compare("content_hash", "=", content_hash)
    return same if region is None else same.joined(Compare("region", "=", region))


def is_of_attributes(condition: Condition) -> bool:
    """Whether it speaks of attributes only, and of at least one."""
    fields = set(_fields(condition))
    return bool(fields) and fields.issubset(ATTRIBUTE_COLUMNS)


def _fields(condition: Condition) -> Iterator[str]:
    match condition:
        case Compare(field=field) | OneOf(field=field):
            yield field
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from _fields(part)
        case Not(part=part):
            yield from _fields(part)
