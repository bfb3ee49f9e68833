"""Families: the pictures of the products of several queries' candidates, read once for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.distinct import distinct, is_among
from imgsearch.search.siblings import Members

if TYPE_CHECKING:
    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.storage.port import Truth

    Ids = npt.NDArray[np.int64]

__all__ = ["Family", "joined"]

NO_IDS: Final = np.zeros(0, np.int64)
PRODUCT_PICTURES: Final = 64
"""Siblings per product, the first by PicName: bounds the cost of products with many pictures."""
SIBLINGS_AT_ONCE: Final = 500
"""Siblings that are not candidates are added up in chunks of so many: another number would round sums otherwise."""


def joined(pieces: list[Members]) -> Members:
    """All items of several pieces, in order."""
    if len(pieces) == 1:
        return pieces[0]
    return Members(
        np.concatenate([piece.ids for piece in pieces]),
        np.concatenate([piece.products for piece in pieces]),
        np.concatenate([piece.categories for piece in pieces]),
        np.concatenate([piece.features for piece in pieces]),
    )


class Family:
    """The pictures of the products of several queries' candidates.

    Each product is read from two places, an item's row and the index of keys. Rows on which both agree need not be held
    against their checksums.

    Args:
        store: inside its ``reading`` block.
        pictures: the items in the layers of all queries, by ascending id.
        numbers: of products; new ones are added.
        candidates: positions in it of each query's candidates, whose siblings are read.
        condition: that siblings meet.

    Raises:
        InstanceDamaged: what is stored contradicts itself or its checksums.
    """

    def __init__(
        self,
        store: Truth,
        pictures: Members,
        numbers: dict[str, int],
        candidates: list[Ids],
        condition: Condition,
    ) -> None:
        wanted = distinct(pictures.products[distinct(*candidates)])
        names = list(numbers)
        found, of = NO_IDS, NO_IDS
        if len(wanted):
            found, places = store.first_of_products([names[number] for number in wanted.tolist()], PRODUCT_PICTURES)
            of = wanted[places]
        lending = distinct(found)
        self._asked = lending[~is_among(lending, pictures.ids)]
        self._single = len(candidates) == 1
        others = store.siblings(self._asked.tolist(), condition) if len(self._asked) else ()
        self._pictures = joined([pictures, *(Members.of(some, numbers) for some in others)])
        self._lends = is_among(self._pictures.ids, lending)
        self._count = len(numbers)
        self._check(store, wanted, found, of)

    def _check(self, store: Truth, wanted: Ids, found: Ids, of: Ids) -> None:
        """Hold the products in the rows of items against those in the index of keys.

        Args:
            store: inside its ``reading`` block.
            wanted: numbers of the candidates' products.
            found: ids of the first pictures of these, as the index tells.
            of: number of the product of each.

        Raises:
            InstanceDamaged: they do not agree; or a row on which the index says nothing is corrupted.
        """
        products, order = self._pictures.products, np.argsort(found)
        told = found[order]
        agrees = not np.any(told[1:] == told[:-1]) and np.array_equal(
            of[order][np.searchsorted(told, self.ids[self._lends])], products[self._lends]
        )
        counts = np.bincount(of, minlength=self._count)
        behind = ~self._lends & is_among(products, wanted)
        if not agrees or np.any(counts[products[behind]] < PRODUCT_PICTURES):
            raise store.damage("an index of items")
        store.verify(self.ids[behind].tolist())

    @property
    def ids(self) -> Ids:
        """Of all of the pictures."""
        return self._pictures.ids

    def siblings(self, candidates: Ids, layer: Ids, lenders: Ids) -> list[Members]:
        """The siblings of candidates, in chunks.

        Args:
            candidates: positions of the candidates.
            layer: positions of all items of their layer.
            lenders: those of them that may count as siblings.
        """
        if not len(candidates):
            return []
        asked = np.zeros(self._count, np.bool_)
        asked[self._pictures.products[candidates]] = True
        lends = self._lends & asked[self._pictures.products]
        first = self._pictures.take(lenders[lends[lenders]])
        lends[layer] = False
        others = np.flatnonzero(lends)
        others = others[np.argsort(self._pictures.ids[others])]
        # In chunks of what was asked for, which a condition may have thinned out.
        ids = self._asked if self._single else self._pictures.ids[others]
        cuts = np.searchsorted(self._pictures.ids[others], ids[SIBLINGS_AT_ONCE::SIBLINGS_AT_ONCE])
        return [first, *(self._pictures.take(piece) for piece in np.split(others, cuts) if len(piece))]
