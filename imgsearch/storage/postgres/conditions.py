"""Conditions in PostgreSQL's SQL, and what some of them say of categories and products."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from imgsearch.filters.tree import And, Compare, OneOf
from imgsearch.storage.conditions import Sql, compiled_for

if TYPE_CHECKING:
    from imgsearch.filters.tree import Condition, Values

__all__ = ["categories_of", "compiled", "product_of"]


class _Postgres:
    """See ``conditions.Dialect``."""

    mark: Final = "%s"
    everything: Final = "true"

    def content(self, content_hash: Any) -> Sql:
        """The index covers the prefix; the whole hash decides."""
        return Sql(
            "(substr(items.content_hash, 1, 8) = %s AND items.content_hash = %s)", (content_hash[:8], content_hash)
        )

    def one_of(self, column: str, values: Values, *, negated: bool) -> Sql:
        """All values are one parameter, so the statement is the same for any number of them."""
        first = values[0] if values else 0
        kind = "text" if isinstance(first, str) else "bytea" if isinstance(first, bytes) else "int"
        return Sql(f"{column} {'<> ALL' if negated else '= ANY'} (%s::{kind}[])", (list(values),))


_DIALECT: Final = _Postgres()


@lru_cache(maxsize=64)
def compiled(condition: Condition) -> Sql:
    """Compile a condition; see ``compiled_for``."""
    return compiled_for(_DIALECT, condition)


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
