"""The settings of an instance in PostgreSQL, its published index, and what is common to reading it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgsearch.errors import InstanceDamaged
from imgsearch.storage.checksum import row_checksum
from imgsearch.storage.postgres.schema import GENERATION_ROW
from imgsearch.storage.records import PROJECTION, TUNED, Records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from imgsearch.projection import Projection
    from imgsearch.storage.postgres.connection import Link

    Ids = npt.NDArray[np.int64]

__all__ = ["Generation", "Rows", "numbers"]


@dataclass(frozen=True, slots=True)
class Generation:
    """A published index, as recorded in the database."""

    number: int
    structure: str
    items: int
    """How many items it holds now, as it takes new ones in and loses deleted ones."""
    dimension: int
    """Of the features."""
    probes: int | None
    recall: float | None
    """recall@10 against an exact search, measured when it was built; None for an exact one."""
    recall_500: float | None
    """The same among 500, as so many are ranked."""
    created: int
    bytes: int
    lists: str | None
    """JSON: category to number of inverted lists; None without any."""

    @property
    def nprobe(self) -> int | None:
        """How many inverted lists a search scans in each category."""
        return self.probes

    @property
    def is_exact(self) -> bool:
        """Whether it compares a query with every item."""
        return self.lists is None

    @property
    def file_name(self) -> str:
        """It is no file."""
        return ""


class Rows(Records):
    """A connection and what is read of it everywhere."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._changed: Counter[int] = Counter()
        """What the transaction that is open changes in the counts, by category."""
        row = link.row("SELECT count(*) FROM external_index")
        self.is_external = row is not None and row[0] > 0
        """Whether the index lies outside of the database."""

    def reading(self) -> AbstractContextManager[None]:
        """Return a context manager; reads inside it see one snapshot."""
        return self.link.snapshot()

    def damage(self, what: str) -> InstanceDamaged:
        """Return the error to raise when stored data does not match its checksum."""
        return InstanceDamaged(
            f"{what} in {self.link.address.url} is corrupted: run 'imgsearch check --read-data' to see what, "
            "'imgsearch check --repair' to repair it"
        )

    def _number(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        row = self.link.row(statement, parameters)
        return 0 if row is None or row[0] is None else int(row[0])

    # Settings

    def settings(self) -> dict[str, Any]:
        """All settings, given at creation or set since."""
        rows = self.link.rows("SELECT name, value, seal FROM settings ORDER BY name")
        self._verify_rows(rows)
        return {name: json.loads(value) for name, value, _ in rows}

    def made_by(self) -> dict[str, Any]:
        """The setting ``model``: the model that computed the features."""
        model = self._setting("model")
        if not isinstance(model, dict):
            raise self.damage("the setting 'model'")
        return model

    def set_setting(self, name: str, value: Any) -> None:
        """Add or change a setting."""
        row = (name, json.dumps(value))
        self.link.run(
            "INSERT INTO settings (name, value, seal) VALUES (%s, %s, %s) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value, seal = excluded.seal",
            (*row, row_checksum(*row)),
        )

    def tuning(self) -> Projection | None:
        """The projection applied to all stored features; None without one."""
        return self._known_tuning()

    def set_tuning(self, tuning: Projection | None) -> None:
        """Record the projection; the caller must apply it to all stored features in the same commit."""
        if tuning is None:
            self.link.run("DELETE FROM settings WHERE name = ANY (%s::text[])", ([TUNED, PROJECTION],))
            return
        self.set_setting(TUNED, tuning.name)
        self.set_setting(PROJECTION, tuning.as_text())

    def _setting(self, name: str) -> Any:
        row = self.link.row("SELECT name, value, seal FROM settings WHERE name = %s", (name,))
        if row is None:
            return None
        self._verify_rows([row])
        return json.loads(row[1])

    # Counting

    def counts(self) -> dict[int, int]:
        """The exact number of items per category, empty categories left out."""
        rows = self.link.rows("SELECT category_id, sum(items)::bigint FROM counts GROUP BY category_id")
        found = Counter({category: int(items) for category, items in rows})
        found.update(self._changed)
        return {category: items for category, items in found.items() if items}

    # The index

    def generation(self) -> Generation | None:
        """The published index; None if there is none and searches scan all items."""
        row = self.link.row(f"SELECT {', '.join(GENERATION_ROW)} FROM generations ORDER BY number DESC LIMIT 1")
        if row is None:
            return None
        values = dict(zip(GENERATION_ROW, row, strict=True))
        indexed = sum(self.counts().values())
        if self.is_external:
            indexed += self.count_removed() - self._number("SELECT count(*) FROM pending")
        return Generation(**{**values, "items": indexed})

    def publish(self, generation: Generation) -> None:
        """Make a generation current."""
        self.unpublish()
        self.link.run(
            f"INSERT INTO generations ({', '.join(GENERATION_ROW)}) VALUES ({', '.join(['%s'] * len(GENERATION_ROW))})",
            [getattr(generation, name) for name in GENERATION_ROW],
        )

    def unpublish(self) -> None:
        """Remove the generation, so that searches scan all items."""
        self.link.run("DELETE FROM generations")

    def next_number(self) -> int:
        """A number for a generation that no other one has had."""
        return self._number("SELECT nextval('generation_numbers')")

    def count_unindexed(self) -> int:
        """How many items are not in the published index; pgvector's takes each in with its commit."""
        if self.link.row("SELECT 1 FROM generations LIMIT 1") is None:
            return sum(self.counts().values())
        return self._number("SELECT count(*) FROM pending") if self.is_external else 0

    def count_removed(self) -> int:
        """How many ids in the published index belong to deleted items."""
        return len(self.removed_ids())

    def removed_ids(self) -> Ids:
        """Ids in the published index that belong to deleted items."""
        if not self.is_external or self.link.row("SELECT 1 FROM generations LIMIT 1") is None:
            return np.zeros(0, np.int64)
        return numbers(self.link.rows("SELECT id FROM removed ORDER BY id"))


def numbers(rows: Sequence[tuple[Any, ...]]) -> Ids:
    """The first column of rows; shape (n,)."""
    return np.fromiter((row[0] for row in rows), np.int64, len(rows))
