"""Conditions in SQLite's SQL."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from imgsearch.storage.conditions import Sql, compiled_for
from imgsearch.storage.sqlite.schema import content_prefix

if TYPE_CHECKING:
    from imgsearch.filters.tree import Condition, Values

__all__ = ["compiled"]


class _SQLite:
    """See ``conditions.Dialect``."""

    mark: Final = "?"
    everything: Final = "1"

    def content(self, content_hash: Any) -> Sql:
        """The index covers the prefix; the whole hash decides."""
        prefixes = f"{content_prefix('content_hash')} = {content_prefix('?')}"
        return Sql(f"({prefixes} AND items.content_hash = ?)", (content_hash, content_hash))

    def one_of(self, column: str, values: Values, *, negated: bool) -> Sql:
        """A parameter for each value."""
        return Sql(f"{column} {'NOT IN' if negated else 'IN'} ({', '.join('?' * len(values))})", values)


_DIALECT: Final = _SQLite()


@lru_cache(maxsize=64)
def compiled(condition: Condition) -> Sql:
    """Compile a condition; see ``compiled_for``."""
    return compiled_for(_DIALECT, condition)
