"""Clusters of unit vectors: the inverted lists of an index, and the list that an item belongs to.

FAISS has both, but its k-means and its ``knn`` compare through a BLAS that takes four to six times as long as NumPy's
(18,000 vectors and 290 centroids, two cores with AVX-512: 84 ms against 19).

If there are thousands of centroids, a vector is compared only with those whose product quantizer codes are nearest to
it. For 96 % of vectors or more, the nearest centroid is among them; the others get one that is about as near.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from imgsearch.all_cores import Mapped

    Vectors = npt.NDArray[np.float32]
    Numbers = npt.NDArray[np.int64]

__all__ = ["Centroids", "spherical_kmeans"]

ITERATIONS: Final = 10
"""As FAISS uses for inverted files."""
LEAST_GAIN: Final = 1e-3
"""An iteration of k-means that raises the mean cosine by less than this share of it is the last one."""
SIMILAR: Final = 0.9
"""k-means starts from earlier centroids only if the smaller of their number and the wanted one is at least this share
of the larger. With many random points between old centroids, lists become uneven."""
PRODUCTS_AT_ONCE: Final = 1 << 21
"""Cosines that are held at once: 8 MiB."""
MANY: Final = 2048
"""From so many centroids on, codes are compared first: 1.2 times as fast for 2,500 of them, twice for 10,000."""
NUMBERS_PER_CODE: Final = 4
"""Of a vector, in each 4-bit code."""
COMPARED: Final = 64
"""How many of the centroids with the nearest codes are compared in k-means. With fewer, lists become uneven: centroids
that are near to everything get whatever missed its nearest one, and so in the next iteration."""
COMPARED_ONCE: Final = 32
"""The same when items are put into lists, which moves no centroid: an eighth faster, and lists hardly less even."""
CODE_ITERATIONS: Final = 4
"""Of the k-means for codes. FAISS's 25 would take four times as long, for hardly better codes."""
VECTORS_AT_ONCE: Final = 4096
"""FAISS keeps 5 KiB for each vector whose code it compares."""
APART: Final = 1 / 1024
"""By this share, the halves of a split cluster differ from its centroid."""
TINY: Final = 1e-9


class Centroids:
    """Centroids, prepared for finding the nearest one to each of many vectors.

    Args:
        centroids: shape (lists, dimension), at least one.
        compared: if there are many, with how many of them a vector is compared.
    """

    def __init__(self, centroids: Vectors, compared: int = COMPARED_ONCE) -> None:
        self._centroids = centroids
        lists, dimension = centroids.shape
        # FAISS's codes have an even number of parts.
        self._coded = _coded(centroids, compared) if lists >= MANY and dimension % (2 * NUMBERS_PER_CODE) == 0 else None

    def nearest(self, vectors: Vectors) -> Numbers:
        """Of each vector, which centroid has the largest inner product with it.

        With fewer than MANY centroids, it is always that one, the first of equal ones. With more, it may be one that is
        about as near.

        Args:
            vectors: shape (n, dimension).

        Returns:
            Shape (n,).
        """
        found = np.zeros(len(vectors), np.int64)
        if len(self._centroids) == 1:
            return found
        rows = max(1, PRODUCTS_AT_ONCE // len(self._centroids)) if self._coded is None else VECTORS_AT_ONCE
        for start in range(0, len(vectors), rows):
            some = vectors[start : start + rows]
            if self._coded is None:
                (some @ self._centroids.T).argmax(axis=1, out=found[start : start + rows])
            else:
                found[start : start + rows] = self._coded.search(some, 1)[1][:, 0]
        return found


def _coded(centroids: Vectors, count: int) -> Any:
    import faiss

    dimension = centroids.shape[1]
    codes = faiss.IndexPQFastScan(dimension, dimension // NUMBERS_PER_CODE, 4, faiss.METRIC_INNER_PRODUCT)
    codes.pq.cp.niter = CODE_ITERATIONS
    compared = faiss.IndexRefineFlat(codes)
    compared.k_factor = count
    compared.train(centroids)
    compared.add(centroids)
    return compared


def spherical_kmeans(
    points: Vectors,
    count: int,
    *,
    seed: int,
    begin: Vectors | None = None,
    iterations: int = ITERATIONS,
    mapped: Mapped = map,
) -> Vectors:
    """Centroids of ``count`` clusters by k-means with cosines, starting from earlier centroids or from random points.

    A cluster that loses all its points takes over half of the largest one, as in FAISS.

    Args:
        points: shape (n, dimension), L2-normalised; at least ``count``.
        count: of clusters, at least one.
        seed: of all random choices.
        begin: centroids of similar points, shape (m, dimension), to start from: that takes fewer iterations. If m is
            slightly larger than ``count``, some of them are used; if it is slightly smaller, random points are added;
            if it differs more (SIMILAR), all are random points.
        iterations: the maximum; it ends sooner if an iteration gains little.
        mapped: like ``map``; finds the clusters of pieces of the points.

    Returns:
        Shape (count, dimension), L2-normalised.
    """
    if count == 1:
        return _units(points.astype(np.float64).mean(axis=0)[None])
    pieces = [points[start : start + VECTORS_AT_ONCE] for start in range(0, len(points), VECTORS_AT_ONCE)]
    centroids, before = _begun(points, count, np.random.default_rng(seed), begin), 0.0
    for _ in range(iterations):
        clusters = np.concatenate(list(mapped(Centroids(centroids, COMPARED).nearest, pieces)))
        sizes = np.bincount(clusters, minlength=count)
        sums = _sums(points, clusters, sizes)
        centroids = _units(sums)
        _split(centroids, sizes)
        # The length of a sum is the total of its points' cosines to it.
        cosine = float(np.linalg.norm(sums, axis=1).sum()) / len(points)
        if cosine < (1 + LEAST_GAIN) * before:
            break
        before = cosine
    return centroids


def _begun(points: Vectors, count: int, generator: np.random.Generator, earlier: Vectors | None) -> Vectors:
    """The centroids to start from; shape (count, dimension)."""
    if earlier is None or not SIMILAR * count <= len(earlier) <= count / SIMILAR:
        earlier = points[:0]
    if len(earlier) > count:
        return earlier[generator.choice(len(earlier), count, replace=False)]
    added = generator.choice(len(points), count - len(earlier), replace=False)
    return np.concatenate([earlier, points[added]])


def _sums(points: Vectors, clusters: Numbers, sizes: Numbers) -> Vectors:
    """The sum of the points of each cluster; shape (clusters, dimension).

    Adds the first point of each, then the second, and so on: ``add.reduceat`` takes three times as long.
    """
    order = np.argsort(clusters, kind="stable")
    large = np.argsort(-sizes, kind="stable")  # large ones first, so that those with a next point are a slice
    begins, having = (np.cumsum(sizes) - sizes)[large], sizes[large]
    sums = np.zeros((len(sizes), points.shape[1]), np.float32)
    remaining = len(sizes)
    for place in range(int(having[0])):
        remaining = int(np.searchsorted(-having[:remaining], -place, "left"))
        sums[:remaining] += points[order[begins[:remaining] + place]]
    of_clusters = np.empty_like(sums)
    of_clusters[large] = sums
    return of_clusters


def _split(centroids: Vectors, sizes: Numbers) -> None:
    """Give each empty cluster half of the largest one; changes both arguments."""
    signs = np.where(np.arange(centroids.shape[1]) % 2, 1 - APART, 1 + APART).astype(np.float32)
    for empty in np.flatnonzero(sizes == 0).tolist():
        largest = int(sizes.argmax())
        centroids[empty] = _units((centroids[largest] * signs)[None])[0]
        centroids[largest] = _units((centroids[largest] / signs)[None])[0]
        sizes[empty] = sizes[largest] // 2
        sizes[largest] -= sizes[empty]


def _units(vectors: npt.NDArray[np.floating]) -> Vectors:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    units: Vectors = (vectors / np.maximum(lengths, TINY)[:, None]).astype(np.float32)
    return units
