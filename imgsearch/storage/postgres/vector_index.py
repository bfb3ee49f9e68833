"""Shortlists of pgvector's indexes, in the same database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.storage.postgres.halves import half
from imgsearch.storage.postgres.partitions import indexed_expression
from imgsearch.storage.postgres.rows import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from imgsearch.listed_ids import ListedIds
    from imgsearch.storage.postgres.rows import Generation
    from imgsearch.storage.postgres.store import Store

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]

__all__ = ["VectorSearch", "near"]


def near(
    store: Store, query: Feature, size: int, dimension: int, probes: int | None, categories: tuple[int, ...] | None
) -> Ids:
    """Ids that pgvector finds near a query.

    Args:
        store: of the instance.
        query: shape (dimension,), L2-normalised.
        size: how many are wanted; pgvector searches further lists until it has so many.
        dimension: of the features.
        probes: how many lists it searches at least in each category; None: it compares with every item.
        categories: of the results; None: all.
    """
    link = store.link
    if probes is not None and link.probes != probes:
        link.run("SELECT set_config('ivfflat.probes', %s, false)", (str(probes),))
        link.probes = probes
    inside = "true" if categories is None else "category_id = ANY (%s::int[])"
    by = "features.feature" if probes is None else indexed_expression(dimension)
    return numbers(
        link.rows(
            f"SELECT features.id FROM features WHERE {inside} ORDER BY {by} <#> %s LIMIT %s",
            (*([] if categories is None else [list(categories)]), half(query), size),
        )
    )


class VectorSearch:
    """pgvector's index, which shows each commit at once."""

    is_best_first: Final = True

    def __init__(self, store: Store, generation: Generation) -> None:
        self._store = store
        self._generation = generation

    def shortlist(
        self,
        query: Feature,
        size: int,
        *,
        categories: tuple[int, ...] | None = None,
        only: ListedIds | None = None,
        without: Ids | None = None,
    ) -> Ids:
        """Ids of the items nearest to a query; arguments are those of ``port.Index``."""
        if only is not None:
            return numbers(
                self._store.link.rows(
                    "SELECT features.id FROM features WHERE id = ANY (%s::bigint[]) ORDER BY feature <#> %s LIMIT %s",
                    (only.ids().tolist(), half(query), size),
                )
            )
        left_out = np.zeros(0, np.int64) if without is None else without
        generation = self._generation
        wanted = size + len(left_out)
        found = near(self._store, query, wanted, generation.dimension, generation.probes, categories)
        return found[~np.isin(found, left_out)]

    def shortlists(
        self, queries: Feature, size: int, categories: Sequence[tuple[int, ...] | None], without: Ids
    ) -> list[Ids]:
        """``shortlist`` for each of many queries."""
        return [
            self.shortlist(query, size, categories=some, without=without)
            for query, some in zip(queries, categories, strict=True)
        ]
