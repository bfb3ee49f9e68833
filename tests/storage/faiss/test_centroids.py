"""Comparing queries with centroids: the same products whichever way they are computed."""

from __future__ import annotations

import numpy as np
import pytest

from imgsearch.storage.faiss.centroids import FEW, inner_products, joined
from imgsearch.storage.faiss.index_file import Part
from tests.storage.builders import DIMENSION, Features, scattered

CENTROIDS = scattered(100)


def unaligned(values: Features) -> Features:
    """A copy that begins at an odd address, as in a FAISS file."""
    memory = bytearray(values.nbytes + 1)
    view = np.frombuffer(memory, np.float32, values.size, offset=1).reshape(values.shape)
    view[:] = values
    return view


@pytest.mark.parametrize("centroids", [CENTROIDS, unaligned(CENTROIDS)], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("count", [0, 1, FEW, FEW + 1, 50])
def test_each_query_is_compared_with_each_centroid(count: int, centroids: Features) -> None:
    """Few or many, aligned or not; queries may be rows of a wider array, centroids a part of the file."""
    queries = np.hstack([scattered(count, 1)] * 2)[:, :DIMENSION] if count else np.zeros((0, DIMENSION), np.float32)
    products = inner_products(queries, centroids[20:90])
    assert products.shape == (count, 70)
    assert products == pytest.approx(queries @ CENTROIDS[20:90].T, abs=1e-6)


def test_neighbouring_parts_are_one_range() -> None:
    """So that all categories together are compared at once."""
    parts = [Part(3, 0, 4), Part(5, 4, 1), Part(6, 5, 2), Part(9, 7, 3)]
    assert joined(parts) == [(0, 10)]
    assert joined(parts[:1]) == [(0, 4)]
    assert joined([parts[0], parts[2], parts[3]]) == [(0, 4), (5, 10)]
    assert joined([parts[1], parts[3]]) == [(4, 5), (7, 10)]
