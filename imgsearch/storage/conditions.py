"""Compiling conditions to SQL, as far as databases agree: a parameterised expression over the columns of ``items``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from imgsearch.filters.tree import And, Compare, Everything, Not, OneOf, Or
from imgsearch.values import Region

if TYPE_CHECKING:
    from imgsearch.filters.tree import Condition, Values

__all__ = ["Dialect", "Sql", "compiled_for"]


@dataclass(frozen=True, slots=True)
class Sql:
    """An expression and the values of its parameters."""

    text: str
    parameters: tuple[Any, ...] = ()


class Dialect(Protocol):
    """What differs between databases."""

    @property
    def mark(self) -> str:
        """Stands for the value of a parameter."""

    @property
    def everything(self) -> str:
        """An expression that is always true."""

    def content(self, content_hash: Any) -> Sql:
        """Items with this hash, by the index of its first eight bytes."""

    def one_of(self, column: str, values: Values, *, negated: bool) -> Sql:
        """Items with one of several values in a column, or with none of them."""


def compiled_for(dialect: Dialect, condition: Condition) -> Sql:
    """Compile a condition; the text contains only fixed names and operators, and every value is a parameter."""
    mark = dialect.mark
    match condition:
        case Everything():
            return Sql(dialect.everything)
        case Compare(field="content_hash", value=value):
            return dialect.content(value)
        case Compare(field="region", value=Region() as region):
            return Sql(f"(items.x1, items.x2, items.y1, items.y2) = ({mark}, {mark}, {mark}, {mark})", region.bounds)
        case Compare(field="root", value=value):
            return Sql(f"items.root_id = (SELECT roots.id FROM roots WHERE roots.path = {mark})", (value,))
        case Compare(field="relative", value=value):
            return Sql(f"coalesce(items.relative_path, items.pic_name) = {mark}", (value,))
        case Compare(field=field, operator=operator, value=value):
            return Sql(f"items.{field} {'<>' if operator == '!=' else operator} {mark}", (value,))
        case OneOf(field=field, values=values, is_negated=negated):
            return dialect.one_of(f"items.{field}", values, negated=negated)
        case And(parts=parts):
            return _joined(dialect, "AND", parts)
        case Or(parts=parts):
            return _joined(dialect, "OR", parts)
        case Not(part=part):
            inner = compiled_for(dialect, part)
            return Sql(f"NOT ({inner.text})", inner.parameters)
        case _:
            raise TypeError(condition)


def _joined(dialect: Dialect, operator: str, parts: tuple[Condition, ...]) -> Sql:
    inner = [compiled_for(dialect, part) for part in parts]
    text = f" {operator} ".join(part.text for part in inner)
    return Sql(f"({text})", tuple(value for part in inner for value in part.parameters))
