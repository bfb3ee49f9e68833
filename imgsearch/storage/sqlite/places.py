"""Reading items by their files: which versions of them are stored, and what lies below a folder."""

from __future__ import annotations

from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING

from imgsearch.storage.sqlite.generations import Generations
from imgsearch.storage.sqlite.rows import MAX_PARAMETERS
from imgsearch.types import StoredVersion
from imgsearch.values import ATTRIBUTE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from imgsearch.values import Attributes

__all__ = ["Places"]

KEYS_PER_STATEMENT = MAX_PARAMETERS // 2


class Places(Generations):
    """Queries on files."""

    def versions(
        self, keys: Sequence[tuple[str, str]], folder: str, attributes: Attributes
    ) -> dict[int, StoredVersion]:
        """The items with these keys by the key's position, with what tells whether their pictures are unchanged.

        Checksums are not verified, which would take longer than all the rest: a wrong row makes a picture look changed,
        so that it is read and verified, or leaves it as it is.
        """
        same = " AND ".join(f"{name} IS ?" for name in ATTRIBUTE_COLUMNS)
        found: dict[int, StoredVersion] = {}
        for start in range(0, len(keys), KEYS_PER_STATEMENT):
            some = keys[start : start + KEYS_PER_STATEMENT]
            listed = ",".join(f"({position}, ?, ?)" for position in range(len(some)))
            rows = self._connection.execute(
                f"WITH keys (position, product, name) AS (VALUES {listed}) "
                "SELECT ? + position, id, token, relative_path, "
                "category_id, category_given, region_mode, x1, x2, y1, y2, "
                f"coalesce(root_id = (SELECT id FROM roots WHERE path = ?), 0), {same} "
                "FROM keys CROSS JOIN items ON product_id = keys.product AND pic_name = keys.name",
                [*chain.from_iterable(some), start, folder, *attributes.columns().values()],
            )
            found.update((row[0], StoredVersion._make(row)) for row in rows)
        return found

    def ids_below(self, folder: str) -> npt.NDArray[np.int64]:
        """Ids of the items whose files lie below an absolute folder, whichever folder was given, ascending."""
        inside = folder.rstrip("/") + "/"
        wanted = ["root_id IN (SELECT id FROM roots WHERE path = ? OR substr(path, 1, ?) = ?)"]
        parameters: list[object] = [folder, len(inside), inside]
        for above in PurePath(folder).parents:
            rest = inside.removeprefix(str(above)).lstrip("/")
            wanted.append(
                "(root_id = (SELECT id FROM roots WHERE path = ?) "
                "AND substr(coalesce(relative_path, pic_name), 1, ?) = ?)"
            )
            parameters += [str(above), len(rest), rest]
        return self._rising(f"SELECT id FROM items WHERE {' OR '.join(wanted)}", tuple(parameters))
