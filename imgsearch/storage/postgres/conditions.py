"""Compiling conditions to SQL of PostgreSQL: a parameterised expression over the columns of ``items``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from imgsearch.filters.tree import And, Compare, Everything, Not, OneOf, Or
from imgsearch.values import Region

if TYPE_CHECKING:
    from imgsearch.filters.tree import Condition

__all__ = ["Sql", "categories_of", "compiled", "product_of"]


@dataclass(frozen=True, slots=True)
class Sql:
    """An expression and the values of its parameters."""

    text: str
    parameters: tuple[Any, ...] = ()


@lru_cache(maxsize=64)
def compiled(condition: Condition) -> Sql:
    """Compile a condition; the text contains only fixed names and operators, and every value is a parameter."""
    match condition:
        case Everything():
            return Sql("true")
        case Compare(field="content_hash", value=value):
            # The index covers the prefix; the whole hash decides.
            assert isinstance(value, bytes)
            return Sql("(substr(items.content_hash, 1, 8) = %s AND items.content_hash = %s)", (value[:8], value))
        case Compare(field="region", value=Region() as region):
            return Sql("(items.x1, items.x2, items.y1, items.y2) = (%s, %s, %s, %s)", region.bounds)
        case Compare(field="root", value=value):
            return Sql("items.root_id = (SELECT roots.id FROM roots WHERE roots.path = %s)", (value,))
        case Compare(field="relative", value=value):
            return Sql("coalesce(items.relative_path, items.pic_name) = %s", (value,))
        case Compare(field=field, operator=operator, value=value):
            return Sql(f"items.{field} {'<>' if operator == '!=' else operator} %s", (value,))
        case OneOf(field=field, values=values, is_negated=negated):
            kind = "text" if values and isinstance(values[0], str) else "int"
            test = f"<> ALL (%s::{kind}[])" if negated else f"= ANY (%s::{kind}[])"
            return Sql(f"items.{field} {test}", (list(values),))
        case And(parts=parts):
            return _joined("AND", parts)
        case Or(parts=parts):
            return _joined("OR", parts)
        case Not(part=part):
            inner = compiled(part)
            return Sql(f"NOT ({inner.text})", inner.parameters)
        case _:
            raise TypeError(condition)


def _joined(operator: str, parts: tuple[Condition, ...]) -> Sql:
    inner = [compiled(part) for part in parts]
    text = f" {operator} ".join(part.text for part in inner)
    return Sql(f"({text})", tuple(value for part in inner for value in part.parameters))


def categories_of(condition: Condition) -> tuple[int, ...] | None:
    """The categories, if a condition says nothing else; None for another one."""
    match condition:
        case OneOf(field="category_id", values=values, is_negated=False):
            return tuple(int(value) for value in values)
        case _:
            return None


def product_of(condition: Condition) -> str | None:
    """The only product that a condition can be met by, as far as it says so."""
    match condition:
        case Compare(field="product_id", operator="=", value=str(name)):
            return name
        case And(parts=parts):
            return next((found for part in parts if (found := product_of(part)) is not None), None)
        case _:
            return None
