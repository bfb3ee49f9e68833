"""The published index, and the items added or removed since."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from imgsearch.storage.checksum import FUNCTION
from imgsearch.storage.sqlite.rows import translated
from imgsearch.storage.sqlite.schema import GENERATION_ROW
from imgsearch.storage.sqlite.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Generation", "Generations"]


@dataclass(frozen=True, slots=True)
class Generation:
    """A published index file, as recorded in the database."""

    number: int
    structure: str
    """``flat``, or the FAISS factory string of an approximate index."""
    bytes: int
    checksum: str
    items: int
    max_id: int
    nprobe: int | None
    recall: float | None
    """recall@10 against exact search, measured when it was built; None for an exact index."""
    created: int
    """Seconds since the epoch."""
    trained: int | None = None
    """Number of items when the lists were trained; None for a flat index."""
    lists: str | None = None
    """JSON: category to number of inverted lists, in file order; None for a flat index."""

    @property
    def file_name(self) -> str:
        """Name of the index file in the instance's folder."""
        return f"index-{self.number}.faiss"

    @property
    def is_exact(self) -> bool:
        """Whether it compares a query with every item."""
        return self.lists is None


class Generations(Settings):
    """The published generation, and the items that are newer or removed."""

    @translated
    def generation(self) -> Generation | None:
        """The published generation."""
        row = self._connection.execute(
            f"SELECT {', '.join(GENERATION_ROW)}, seal FROM generations ORDER BY number DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        self._verify_rows([row])
        return Generation(*row[:-1])

    @translated
    def count_newer(self, max_id: int) -> int:
        """How many items have an id above ``max_id``."""
        (count,) = self._connection.execute("SELECT count(*) FROM items WHERE id > ?", (max_id,)).fetchone()
        return int(count)

    def removed_ids(self) -> npt.NDArray[np.int64]:
        """Ids in the published generation that belong to deleted items."""
        return self._ids("SELECT id FROM removed")

    def count_removed(self) -> int:
        """How many ids in the published generation belong to deleted items."""
        (count,) = self._connection.execute("SELECT count(*) FROM removed").fetchone()
        return int(count)

    def publish(self, generation: Generation) -> None:
        """Make this generation current; it must hold every item up to its ``max_id``."""
        self._connection.execute("DELETE FROM generations")
        values = astuple(generation)
        self._connection.execute(
            f"INSERT INTO generations ({', '.join(GENERATION_ROW)}) VALUES ({', '.join('?' * len(values))})", values
        )
        self._connection.execute(f"UPDATE generations SET seal = {FUNCTION}({', '.join(GENERATION_ROW)})")
        self._connection.execute("DELETE FROM removed")

    def unpublish(self) -> None:
        """Remove the generation, so that searches scan all items."""
        self._connection.execute("DELETE FROM generations")
        self._connection.execute("DELETE FROM removed")

    def count_unindexed(self) -> int:
        """How many items are not in the published index."""
        return self.count_newer(self._last_indexed())

    def _last_indexed(self) -> int:
        """The highest id that the published index can contain; 0 without an index."""
        generation = self.generation()
        return 0 if generation is None else generation.max_id
