"""Conditions on items, as a storage-independent syntax tree.

Each storage compiles them to its own queries. An unset field meets no comparison, not even ``!=`` and ``not in``;
fields other than attributes and locations are always set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from imgsearch.values import ATTRIBUTE_COLUMNS, spellings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePath

    from imgsearch.values import Region

    Operator = Literal["=", "!=", "<", "<=", ">", ">="]
    Value = int | str | bytes | Region
    Values = tuple[int, ...] | tuple[str, ...] | tuple[bytes, ...]

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
    "content_of",
    "is_of_attributes",
    "location_condition",
    "named_condition",
    "picture_condition",
    "product_condition",
    "uses_attributes",
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
    ``region``, ``root`` and ``relative`` (of the location), which are compared for equality only."""
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class OneOf(Condition):
    """A field with one of several values, or with none of them; also allows ``category_id``."""

    field: str
    values: Values
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class And(Condition):
    """All parts are met; at least two parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or(Condition):
    """At least one part is met; at least two parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """The part is not met."""

    part: Condition


EVERYTHING: Final = Everything()


def product_condition(product_id: str, pic_name: str | None = None) -> Condition:
    """All pictures of a product, or only the one with that name."""
    of_product = Compare("product_id", "=", product_id)
    return of_product if pic_name is None else of_product.joined(Compare("pic_name", "=", pic_name))


def named_condition(product_id: str, pic_name: str | None = None) -> Condition:
    """All pictures of a product, or only the one with that name, however their accents are spelled."""
    of_product = _spelled("product_id", product_id)
    return of_product if pic_name is None else of_product.joined(_spelled("pic_name", pic_name))


def _spelled(field: str, name: str) -> Condition:
    values = spellings(name)
    return OneOf(field, values) if len(values) > 1 else Compare(field, "=", name)


def category_condition(category_ids: tuple[int, ...]) -> Condition:
    """Items of exactly these categories."""
    return OneOf("category_id", category_ids)


def picture_condition(content_hash: bytes, region: Region | None = None) -> Condition:
    """Items with identical bytes and, if given, the same region."""
    same = Compare("content_hash", "=", content_hash)
    return same if region is None else same.joined(Compare("region", "=", region))


def content_of(same: Condition) -> bytes:
    """The content hash in a ``picture_condition``."""
    (compared, *_) = same.parts if isinstance(same, And) else (same,)
    assert isinstance(compared, Compare)
    assert isinstance(compared.value, bytes)
    return compared.value


def location_condition(path: PurePath) -> Condition:
    """Items made from the file at an absolute path, whichever of its folders was given."""
    places = tuple(
        Compare("root", "=", str(folder)).joined(Compare("relative", "=", path.relative_to(folder).as_posix()))
        for folder in path.parents
    )
    return Or(places) if len(places) > 1 else places[0]


def is_of_attributes(condition: Condition) -> bool:
    """Whether it refers to attributes only, and to at least one."""
    fields = set(_fields(condition))
    return bool(fields) and fields.issubset(ATTRIBUTE_COLUMNS)


def uses_attributes(condition: Condition) -> bool:
    """Whether it refers to an attribute."""
    return not set(_fields(condition)).isdisjoint(ATTRIBUTE_COLUMNS)


def _fields(condition: Condition) -> Iterator[str]:
    match condition:
        case Compare(field=field) | OneOf(field=field):
            yield field
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from _fields(part)
        case Not(part=part):
            yield from _fields(part)
