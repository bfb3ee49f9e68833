"""Comparing queries with the centroids of an inverted file where they lie, in the mapped file.

A few queries are compared by FAISS's own kernel, which reads the file once for each. NumPy would copy the centroids
first, as FAISS does not align them in its file; this pays for many queries, whose product of matrices is faster.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from imgsearch.storage.faiss.index_file import Part

__all__ = ["inner_products", "joined"]

FEW: Final = 4
"""Up to this many queries are compared one by one."""


def joined(parts: list[Part]) -> list[tuple[int, int]]:
    """The ranges of lists that parts cover, first and one past the last; neighbours become one range.

    Args:
        parts: in file order, at least one.
    """
    breaks = [number for number, (one, other) in enumerate(pairwise(parts), 1) if one.end != other.first]
    starts, ends = [0, *breaks], [*breaks, len(parts)]
    return [(parts[start].first, parts[end - 1].end) for start, end in zip(starts, ends, strict=True)]


def inner_products(queries: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The inner product of each query with each centroid; shape (n, lists).

    Args:
        queries: shape (n, dimension).
        centroids: shape (lists, dimension), C-contiguous, aligned or not.
    """
    import faiss

    if len(queries) > FEW:
        return queries @ centroids.T
    products = np.empty((len(queries), len(centroids)), np.float32)
    for query, row in zip(np.ascontiguousarray(queries), products, strict=True):
        faiss.fvec_inner_products_ny(*map(faiss.swig_ptr, (row, query, centroids)), query.size, len(centroids))
    return products
