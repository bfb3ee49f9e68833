"""Reading items by their files: which versions of them are stored, and what lies below a folder."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from imgsearch.storage.postgres.rows import Rows, numbers
from imgsearch.types import StoredVersion
from imgsearch.values import ATTRIBUTE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from imgsearch.values import Attributes

__all__ = ["Places"]


class Places(Rows):
    """Queries on files."""

    def versions(
        self, keys: Sequence[tuple[str, str]], folder: str, attributes: Attributes
    ) -> dict[int, StoredVersion]:
        """The items with these keys by the key's position, with what tells whether their pictures are unchanged.

        Checksums are not verified: a wrong row makes a picture look changed, so that it is read, or leaves it as it is.
        """
        columns = attributes.columns()
        types = {name: "int" if name.startswith("int_") else "text" for name in ATTRIBUTE_COLUMNS}
        same = " AND ".join(f"items.{name} IS NOT DISTINCT FROM %s::{types[name]}" for name in ATTRIBUTE_COLUMNS)
        rows = self.link.rows(
            "SELECT (wanted.position - 1)::int, items.id, token, relative_path, category_id, category_given, "
            "region_mode, x1, x2, y1, y2, "
            f"coalesce(root_id = (SELECT roots.id FROM roots WHERE roots.path = %s), false), ({same}) "
            "FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (product, name, position) "
            "JOIN items ON items.product_id = wanted.product AND items.pic_name = wanted.name",
            (folder, *columns.values(), [product for product, _ in keys], [name for _, name in keys]),
        )
        return {row[0]: StoredVersion._make(row) for row in rows}

    def ids_below(self, folder: str) -> npt.NDArray[np.int64]:
        """Ids of the items whose files lie below an absolute folder, whichever folder was given, ascending."""
        inside = folder.rstrip("/") + "/"
        wanted = ["root_id IN (SELECT roots.id FROM roots WHERE roots.path = %s OR starts_with(roots.path, %s))"]
        parameters: list[object] = [folder, inside]
        for above in PurePath(folder).parents:
            wanted.append(
                "(root_id = (SELECT roots.id FROM roots WHERE roots.path = %s) "
                "AND starts_with(coalesce(relative_path, pic_name), %s))"
            )
            parameters += [str(above), inside.removeprefix(str(above)).lstrip("/")]
        return numbers(self.link.rows(f"SELECT id FROM items WHERE {' OR '.join(wanted)} ORDER BY id", parameters))
