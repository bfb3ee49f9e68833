"""The partitions of ``features``, one per category, and pgvector's index of each.

An index is one of the expression ``feature::halfvec(DIMENSION)``, and is used by what orders by that expression only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imgsearch.storage.postgres.locks import lock_partitions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgsearch.storage.postgres.connection import Link

__all__ = ["Partitions", "VectorIndex", "indexed_expression"]

MEMORY: Final = "256MB"
"""For making an index; it holds a sample of the features."""


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index of a partition."""

    name: str
    category: int
    lists: int
    is_valid: bool
    """False for what a process that was killed has left."""
    bytes: int


def indexed_expression(dimension: int) -> str:
    """What is indexed."""
    return f"(features.feature::halfvec({int(dimension)}))"


class Partitions:
    """Making partitions and their indexes."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._known: set[int] = set()

    def forget(self) -> None:
        """A transaction in which partitions may have been made was undone."""
        self._known.clear()

    def ensure(self, categories: Iterable[int]) -> None:
        """Make the partitions of categories, if they are missing; inside of a transaction."""
        if self._known.issuperset(categories):
            return
        self._known |= self._present()
        missing = sorted(set(categories) - self._known)
        if not missing:
            return
        lock_partitions(self._link)
        self._known |= self._present()  # another writer may have made them while this one waited
        for category in missing:
            if category not in self._known:
                name = _name(category)
                # Attached, not created as a partition, which would make all readers wait until the commit.
                self._link.run(f"CREATE TABLE {name} (LIKE features INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
                self._link.run(f"ALTER TABLE features ATTACH PARTITION {name} FOR VALUES IN ({int(category)})")
                self._known.add(category)

    def _present(self) -> set[int]:
        rows = self._link.rows(
            "SELECT pg_get_expr(parts.relpartbound, parts.oid) FROM pg_inherits JOIN pg_class AS parts "
            "ON parts.oid = pg_inherits.inhrelid WHERE pg_inherits.inhparent = 'features'::regclass"
        )
        return {_category(bound) for (bound,) in rows}

    def indexes(self) -> list[VectorIndex]:
        """All indexes of features, by category, older ones first."""
        rows = self._link.rows(
            "SELECT own.relname, pg_get_expr(parts.relpartbound, parts.oid), "
            "coalesce((SELECT option_value::int FROM pg_options_to_table(own.reloptions) "
            "WHERE option_name = 'lists'), 0), entries.indisvalid, pg_relation_size(own.oid) "
            "FROM pg_inherits JOIN pg_class AS parts ON parts.oid = pg_inherits.inhrelid "
            "JOIN pg_index AS entries ON entries.indrelid = parts.oid JOIN pg_class AS own "
            "ON own.oid = entries.indexrelid JOIN pg_am AS kinds ON kinds.oid = own.relam "
            "WHERE pg_inherits.inhparent = 'features'::regclass AND kinds.amname = 'ivfflat' ORDER BY own.oid"
        )
        found = [VectorIndex(row[0], _category(row[1]), *row[2:]) for row in rows]
        return sorted(found, key=lambda one: one.category)

    def build(self, category: int, lists: int, dimension: int, number: int) -> None:
        """Make an index of a partition, beside the one that it has; others read and write meanwhile.

        Args:
            category: of the partition.
            lists: how many inverted lists.
            dimension: of the features.
            number: of the generation, for the name.
        """
        name, table = f"{_name(category)}_ivf_{int(number)}", _name(category)
        self._link.run(
            f"CREATE INDEX CONCURRENTLY {name} ON {table} USING ivfflat "
            f"((feature::halfvec({int(dimension)})) halfvec_ip_ops) WITH (lists = {int(lists)})"
        )

    def drop(self, index: VectorIndex, *, at_once: bool = False) -> None:
        """Delete an index.

        Args:
            index: which.
            at_once: inside of a transaction; readers of the partition wait until it ends.
        """
        self._link.run(f"DROP INDEX {'' if at_once else 'CONCURRENTLY '}IF EXISTS {index.name}")

    def analyze(self) -> None:
        """Have the planner know what there is (it takes new partitions for empty), and free what was deleted."""
        self._link.run("VACUUM (ANALYZE) items, features")


def _name(category: int) -> str:
    return f"features_{'minus_' if category < 0 else ''}{abs(int(category))}"


def _category(bound: str) -> int:
    """Of ``FOR VALUES IN (4)``."""
    return int(bound.partition("(")[2].rstrip(")").strip("'"))
