"""Pictures in columns, for finding duplicates: items with the same bytes are one class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from imgsearch.filters.tree import Condition
    from imgsearch.storage.port import Truth
    from imgsearch.types import Fingerprints

    Ids = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.int64]
    Words = npt.NDArray[np.uint64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["HASH_WORDS", "PictureClasses", "equal_rows"]

HASH_WORDS: Final = 4
HASH_BYTES: Final = 8 * HASH_WORDS
CONTENT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class PictureClasses:
    """Items by ascending id, and the class of each: those that are one picture for sure. Some 100 bytes an item."""

    ids: Ids
    products: Numbers
    """A number that is the same for items of one product."""
    class_of: Numbers
    """Of each item."""
    first: Numbers
    """The place of each class's first item among the items."""
    hashes: Words
    """The perceptual hash of each class, shape (classes, HASH_WORDS); zeros where there is none."""
    hashed: Flags
    """Whether each class has a hash."""
    unhashed: int
    """How many items have none."""

    @classmethod
    def read(cls, store: Truth, condition: Condition, *, within_products: bool) -> PictureClasses:
        """Read the items that meet a condition.

        Args:
            store: inside its ``reading`` block.
            condition: to be met.
            within_products: whether items of different products are in different classes.
        """
        pieces = [_columns(piece) for piece in store.fingerprints(condition)]
        if not pieces:
            pieces = [_columns_of_none()]
        ids, products, contents, hashes, hashed = (np.concatenate(part) for part in zip(*pieces, strict=True))
        del pieces
        columns = [contents[:, 0], contents[:, 1], *([products.view(np.uint64)] if within_products else [])]
        class_of, first = equal_rows(columns)
        # Of the same bytes, some may have been added before there were hashes.
        best = first.copy()
        best[class_of[hashed]] = np.flatnonzero(hashed)
        unhashed = len(hashed) - int(np.count_nonzero(hashed))
        return cls(ids, products, class_of, first, hashes[best], hashed[best], unhashed)

    def joined(self, pairs: Numbers) -> PictureClasses:
        """The same items, each pair of classes being one.

        Args:
            pairs: shape (n, 2); each class is the second one of at most one pair, and then of none the first.
        """
        label = np.arange(len(self.first))
        label[pairs[:, 1]] = pairs[:, 0]
        kept, number = np.unique(label, return_inverse=True)
        first = np.full(len(kept), len(self.ids), np.int64)
        np.minimum.at(first, number, self.first)
        class_of = number[self.class_of]
        return replace(self, class_of=class_of, first=first, hashes=self.hashes[kept], hashed=self.hashed[kept])

    def first_ids(self, classes: Numbers) -> Ids:
        """The id of the first item of each class; same shape."""
        found: Ids = self.ids[self.first[classes]]
        return found

    def product_of(self, classes: Numbers) -> Numbers:
        """The product of the first item of each class; same shape."""
        found: Numbers = self.products[self.first[classes]]
        return found


def _columns(piece: Fingerprints) -> tuple[Ids, Numbers, Words, Words, Flags]:
    hashes = [one if one is not None and len(one) == HASH_BYTES else None for one in piece.hashes]
    return (
        piece.ids,
        np.fromiter(map(hash, piece.products), np.int64, len(piece.products)),
        np.frombuffer(b"".join(map(_digest, piece.contents)), np.uint64).reshape(-1, 2),
        np.frombuffer(b"".join(one or bytes(HASH_BYTES) for one in hashes), np.uint64).reshape(-1, HASH_WORDS),
        np.array([one is not None for one in hashes], np.bool_),
    )


def _columns_of_none() -> tuple[Ids, Numbers, Words, Words, Flags]:
    nothing = np.zeros(0, np.int64)
    words = np.zeros((0, HASH_WORDS), np.uint64)
    return nothing, nothing, words[:, :2], words, np.zeros(0, np.bool_)


def _digest(content: bytes) -> bytes:
    return content if len(content) == CONTENT_BYTES else hashlib.blake2b(content, digest_size=CONTENT_BYTES).digest()


def equal_rows(columns: list[npt.NDArray[np.uint64]]) -> tuple[Numbers, Numbers]:
    """Number rows so that equal ones have the same number.

    Args:
        columns: each of shape (n,).

    Returns:
        The number of each row, shape (n,); and for each number the place of its first row.
    """
    order = np.lexsort(columns)  # stable: of equal rows, the first one comes first
    begins = np.ones(len(order), np.bool_)
    if len(order):
        begins[1:] = False
        for column in columns:
            ordered = column[order]
            begins[1:] |= ordered[1:] != ordered[:-1]
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(begins) - 1
    return number, order[begins].astype(np.int64)
