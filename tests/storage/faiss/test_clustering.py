"""Clusters of unit vectors: as good as those of FAISS, always the same, whatever the points are."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.storage.faiss import clustering
from imgsearch.storage.faiss.clustering import ITERATIONS, MANY, Centroids, spherical_kmeans
from tests.storage.builders import DIMENSION, clustered, scattered


def agreement(points: np.ndarray, centroids: np.ndarray) -> float:
    """The mean cosine of points to the nearest centroid."""
    return float((points @ centroids.T).max(axis=1).mean())


@pytest.mark.parametrize("count", [1, 2, 29, 64])
def test_each_vector_gets_the_nearest_centroid(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when its cosines are computed in several pieces, of which the last one is shorter."""
    vectors, centroids = scattered(100, 1), scattered(count, 2)
    expected = (vectors @ centroids.T).argmax(axis=1)
    prepared = Centroids(centroids)
    assert prepared.nearest(vectors).tolist() == expected.tolist()
    monkeypatch.setattr(clustering, "PRODUCTS_AT_ONCE", 7 * count)
    assert prepared.nearest(vectors).tolist() == expected.tolist()
    monkeypatch.setattr(clustering, "PRODUCTS_AT_ONCE", 1)
    assert prepared.nearest(vectors[:3]).tolist() == expected[:3].tolist()
    assert prepared.nearest(vectors[:0]).shape == (0,)


def test_of_many_centroids_nearly_every_vector_gets_the_nearest() -> None:
    """The others get one that is about as near."""
    points = clustered(12_000, 5, clusters=6_000)
    centroids = spherical_kmeans(points, MANY, seed=2, iterations=2)
    prepared = Centroids(centroids)
    cosines = points @ centroids.T
    found = prepared.nearest(points)
    assert found.dtype == np.int64
    lost = cosines.max(axis=1) - cosines[np.arange(len(points)), found]
    assert np.mean(lost > 1e-6) <= 0.03
    assert lost.mean() <= 0.003
    assert prepared.nearest(points[:0]).shape == (0,)
    assert np.array_equal(prepared.nearest(points), Centroids(centroids).nearest(points)), "always the same"


def test_many_centroids_of_a_dimension_that_has_no_codes_are_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "MANY", 64)
    vectors, centroids = scattered(100, 1)[:, :14], scattered(64, 2)[:, :14]
    assert np.array_equal(Centroids(centroids).nearest(vectors), (vectors @ centroids.T).argmax(axis=1))


def test_many_copies_of_few_centroids_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "MANY", 64)
    few = scattered(3, 6)
    centroids = np.repeat(few, 40, axis=0)
    assert np.array_equal(centroids[Centroids(centroids).nearest(few)], few)


def test_many_clusters_are_as_tight_as_with_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    points = clustered(12_000, 3, clusters=6_000)
    coded = spherical_kmeans(points, MANY, seed=5)
    monkeypatch.setattr(clustering, "MANY", MANY + 1)
    certain = spherical_kmeans(points, MANY, seed=5)
    np.testing.assert_allclose(np.linalg.norm(coded, axis=1), 1, atol=1e-6)
    assert 1 - agreement(points, coded) <= 1.02 * (1 - agreement(points, certain))


@pytest.mark.parametrize(("count", "spread"), [(20, 0.05), (60, 0.12), (200, 0.12)])
def test_clusters_are_as_tight_as_those_of_faiss(count: int, spread: float) -> None:
    points = clustered(6_000, 3, spread=spread)
    theirs = faiss.Kmeans(DIMENSION, count, niter=ITERATIONS, spherical=True, seed=5, min_points_per_centroid=1)
    theirs.train(points)
    own = spherical_kmeans(points, count, seed=5)
    assert own.shape == (count, DIMENSION)
    assert own.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(own, axis=1), 1, atol=1e-6)
    # Both begin at random points, so either may be better by chance.
    assert 1 - agreement(points, own) <= 1.1 * (1 - agreement(points, theirs.centroids))
    # Each step of k-means improves on the one before.
    assert agreement(points, own) >= agreement(points, spherical_kmeans(points, count, seed=5, iterations=1))


def test_it_ends_once_an_iteration_gains_little(iterations: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Points close to as many centres as there are clusters stay where the second iteration puts them."""
    points = clustered(1_000, 3, clusters=8, spread=0.01)
    quick = spherical_kmeans(points, 8, seed=0)
    assert 2 <= len(iterations) < ITERATIONS
    monkeypatch.setattr(clustering, "LEAST_GAIN", -1.0)
    iterations.clear()
    assert 1 - agreement(points, quick) <= 1.1 * (1 - agreement(points, spherical_kmeans(points, 8, seed=0)))
    assert len(iterations) == ITERATIONS


@pytest.mark.parametrize("count", [30, 57, 60, 64, 90])
def test_earlier_centroids_save_iterations(count: int, iterations: list[int]) -> None:
    """Even those of other points. They are not used if there are many more or fewer of them."""
    points = clustered(6_000, 3)
    earlier = spherical_kmeans(points[:4_000], 60, seed=1)
    iterations.clear()
    anew = spherical_kmeans(points, count, seed=2)
    needed = len(iterations)
    iterations.clear()
    found = spherical_kmeans(points, count, seed=2, begin=earlier)
    assert found.shape == (count, DIMENSION)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    # Both started from random points once, so either may be better by chance.
    assert 1 - agreement(points, found) <= 1.15 * (1 - agreement(points, anew))
    if 57 <= count <= 64:
        assert len(iterations) < needed
    else:
        assert np.array_equal(found, anew)


@pytest.mark.parametrize("earlier", [0, 38, 40, 44])
def test_it_begins_with_different_points(earlier: int) -> None:
    """Two equal centroids would share one cluster, and one of them would have to find another."""
    points = clustered(41, 3)
    begun = clustering._begun(points[:40], 40, np.random.default_rng(1), clustered(60, 5)[:earlier])
    assert len(np.unique(begun, axis=0)) == 40


def test_nothing_is_left_of_earlier_centroids() -> None:
    """Not even of those that are far from every point: the items behind them may have been deleted."""
    plain, half = clustered(1_000, 3), DIMENSION // 2
    points = np.hstack([plain[:, :half], np.zeros_like(plain[:, half:])])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    earlier = np.hstack([np.zeros_like(plain[:16, :half]), plain[:16, half:]])
    earlier[:8] += points[:8]
    assert not spherical_kmeans(points, 16, seed=1, begin=earlier, iterations=1)[:, half:].any()


def test_the_same_points_give_the_same_clusters() -> None:
    points = clustered(3_000, 4)
    assert np.array_equal(spherical_kmeans(points, 40, seed=7), spherical_kmeans(points, 40, seed=7))
    assert not np.array_equal(spherical_kmeans(points, 40, seed=7), spherical_kmeans(points, 40, seed=8))


def test_a_single_cluster_is_the_mean() -> None:
    points = clustered(500, 2)
    mean = points.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(spherical_kmeans(points, 1, seed=0)[0], mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("points", [np.repeat(scattered(1, 6), 50, axis=0), np.repeat(scattered(4, 6), 20, axis=0)])
def test_copies_of_few_points_make_clusters_that_share_them(points: np.ndarray) -> None:
    """A catalogue may have more lists than different pictures: clusters without points halve a full one."""
    centroids = spherical_kmeans(points, 16, seed=1)
    assert np.isfinite(centroids).all()
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-6)
    assert agreement(points, centroids) > 0.999
    assert len(np.unique(centroids, axis=0)) > len(np.unique(points, axis=0))


def test_empty_clusters_halve_whichever_is_largest_by_then() -> None:
    centroids, sizes = scattered(5, 2), np.array([9, 0, 12, 0, 0])
    before = centroids.copy()
    clustering._split(centroids, sizes)
    assert sizes.tolist() == [5, 3, 6, 4, 3]
    assert (np.abs(centroids - before).max(axis=1) > 0).all()
    for half, of in ((1, 2), (3, 0), (4, 2)):
        assert centroids[half] @ before[of] > 0.99


def test_points_that_cancel_out_have_some_centroid() -> None:
    points = np.concatenate([scattered(1, 1), -scattered(1, 1)])
    assert np.isfinite(spherical_kmeans(points, 1, seed=0)).all()
    assert np.isfinite(spherical_kmeans(points, 2, seed=0)).all()


@given(st.lists(st.integers(0, 11), min_size=1, max_size=80))
def test_the_points_of_a_cluster_are_added_up(clusters: list[int]) -> None:
    points, numbers = scattered(len(clusters), 9), np.array(clusters)
    expected = np.zeros((12, DIMENSION))
    np.add.at(expected, numbers, points)
    sums = clustering._sums(points, numbers, np.bincount(numbers, minlength=12))
    np.testing.assert_allclose(sums, expected, atol=1e-5)
