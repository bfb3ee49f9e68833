"""Which index is published, and what of it is no longer true."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from imgsearch.storage.sqlite.checksum import FUNCTION
from imgsearch.storage.sqlite.rows import translated
from imgsearch.storage.sqlite.schema import GENERATION_ROW
from imgsearch.storage.sqlite.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Generation", "Generations"]


@dataclass(frozen=True, slots=True)
class Generation:
    """A published index file, as the database describes it."""

    number: int
    structure: str
    """``flat``, or the FAISS factory string of an approximate index."""
    bytes: int
    checksum: str
    items: int
    max_id: int
    nprobe: int | None
    recall: float | None
    """recall@10 against exact search, measured when it was built; None for an exact one."""
    created: int
    """Seconds since the epoch."""
    trained: int | None = None
    """Items when the lists were trained; None in a flat one."""
    lists: str | None = None
    """JSON: category to number of inverted lists, in the order in which they stand in the file; None in a flat one."""

    @property
    def file_name(self) -> str:
        """Name of the index file inside the instance's folder."""
        return f"index-{self.number}.faiss"

    @property
    def is_exact(self) -> bool:
        """Whether it compares a query with every item."""
        return self.lists is None


class Generations(Settings):
    """The published generation, and the items that are newer or gone."""

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
        """Ids that the published generation holds and that are no longer items."""
        return self._ids("SELECT id FROM removed")

    def count_removed(self) -> int:
        """How many items of the published generation are no longer items."""
        (count,) = self._connection.execute("SELECT count(*) FROM removed").fetchone()
        return int(count)

    def publish(self, generation: Generation) -> None:
        """Make this generation, which holds every present item up to its ``max_id``, the one that readers use."""
        self._connection.execute("DELETE FROM generations")
        values = astuple(generation)
        self._connection.execute(
            f"INSERT INTO generations ({', '.join(GENERATION_ROW)}) VALUES ({', '.join('?' * len(values))})", values
        )
        self._connection.execute(f"UPDATE generations SET seal = {FUNCTION}({', '.join(GENERATION_ROW)})")
        self._connection.execute("DELETE FROM removed")

    def unpublish(self) -> None:
        """Have no generation: everything is scanned."""
        self._connection.execute("DELETE FROM generations")
        self._connection.execute("DELETE FROM removed")

    def count_unindexed(self) -> int:
        """How many items the published index does not have."""
        return self.count_newer(self._last_indexed())

    def _last_indexed(self) -> int:
        """The highest id that the published index may have; 0 without one."""
        generation = self.generation()
        return 0 if generation is None else generation.max_id
