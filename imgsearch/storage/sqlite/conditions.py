"""Compiling conditions to SQL: a parameterised expression over the columns of ``items``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from imgsearch.filters.tree import And, Compare, Everything, Not, OneOf, Or
from imgsearch.storage.sqlite.schema import content_prefix
from imgsearch.values import Region

if TYPE_CHECKING:
    from imgsearch.filters.tree import Condition

__all__ = ["Sql", "compiled"]


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
            return Sql("1")
        case Compare(field="content_hash", value=value):
            # The index covers the prefix; the whole hash decides.
            return Sql(
                f"({content_prefix('content_hash')} = {content_prefix('?')} AND items.content_hash = ?)", (value, value)
            )
        case Compare(field="region", value=Region() as region):
            return Sql("(items.x1, items.x2, items.y1, items.y2) = (?, ?, ?, ?)", region.bounds)
        case Compare(field="root", value=value):
            return Sql("items.root_id = (SELECT id FROM roots WHERE path = ?)", (value,))
        case Compare(field="relative", value=value):
            return Sql("coalesce(items.relative_path, items.pic_name) = ?", (value,))
        case Compare(field=field, operator=operator, value=value):
            return Sql(f"items.{field} {'<>' if operator == '!=' else operator} ?", (value,))
        case OneOf(field=field, values=values, is_negated=negated):
            listed = ", ".join("?" * len(values))
            return Sql(f"items.{field} {'NOT IN' if negated else 'IN'} ({listed})", values)
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
