"""The mathematics of tuning: what is learned, what it does to a feature, how it is undone, and what chance can do."""

from __future__ import annotations

import numpy as np
import pytest

from imgsearch.projection import SHRINKAGE, Projection, estimated, learned, within_scatter
from tests.storage.builders import of_products, scattered, stored

SHAPE = 192
HALF = 2.0**-11
"""The largest relative error of rounding to half precision."""


def of_view(view: float = 0.5) -> Projection:
    """Learned from products whose pictures differ in eight directions."""
    features = of_products(40, 3, view=view)
    return learned(*within_scatter(features[:, :SHAPE], np.arange(120) // 3))


def steep() -> Projection:
    """The steepest that can be learned: pictures differ in one direction only."""
    scatter = np.zeros((SHAPE, SHAPE))
    scatter[5, 5] = 1.0
    return learned(scatter, 1)


def test_each_product_counts_once_and_single_pictures_do_not() -> None:
    """The sum of the covariances of each product, of blocks of length 1, and how many products have several."""
    blocks = np.random.default_rng(0).standard_normal((9, 5))
    products = np.array([7, 1, 1, 7, 3, 1, 7, 1, 8])
    units = blocks / np.linalg.norm(blocks, axis=1, keepdims=True)
    wanted = sum(np.cov(units[products == product].T) for product in (1, 7))
    scatter, count = within_scatter(3 * blocks, products)
    assert count == 2
    assert np.allclose(scatter, wanted, atol=1e-12)
    assert within_scatter(blocks[:0], products[:0])[1] == 0


def test_directions_shrink_by_how_much_pictures_of_a_product_differ_in_them() -> None:
    """``(Sw + SHRINKAGE * m * I)^(-1/2)``, with the largest eigenvalue at 1."""
    spread = np.array([9.0, 1.0, 0.0, 2.0])
    projection = learned(np.diag(2 * spread), 2)
    wanted = (spread + SHRINKAGE * spread.mean()) ** -0.5
    assert np.allclose(projection.matrix.astype(float), np.diag(wanted / wanted.max()), atol=HALF)
    assert np.array_equal(learned(np.zeros((3, 3)), 2).matrix, np.eye(3))


def test_blocks_keep_their_lengths_and_colours_stay() -> None:
    """Only the direction of the shape block changes; one feature goes the way that many go."""
    features = scattered(50, dimension=256)
    tuned = of_view().applied(features)
    assert tuned.dtype == np.float32
    assert np.array_equal(tuned[:, SHAPE:], features[:, SHAPE:])
    before, after = (np.linalg.norm(rows[:, :SHAPE], axis=1) for rows in (features, tuned))
    assert np.allclose(before, after, rtol=1e-6)
    assert np.abs(tuned - features).max() > 0.01
    assert np.allclose(of_view().applied(features[7]), tuned[7], atol=1e-7)
    assert not of_view().applied(np.zeros(256, np.float32)).any()


@pytest.mark.parametrize("projection", [of_view(), steep()], ids=["learned", "steepest"])
def test_undoing_errs_by_rounding_alone(projection: Projection) -> None:
    """A shape block comes back to within ``(condition + 1) * 2**-11`` of its length, and the condition is below 9."""
    assert projection.condition < 9
    features = scattered(500, dimension=256)
    again = stored(projection.undone(projection.applied(features).astype(np.float16)))
    errors = np.linalg.norm(again[:, :SHAPE] - features[:, :SHAPE], axis=1)
    assert (errors <= (projection.condition + 1) * HALF * np.linalg.norm(features[:, :SHAPE], axis=1)).all()


def test_text_and_name() -> None:
    """Text gives the same matrix again; another matrix has another name, near or not."""
    projection = of_view()
    again = Projection.from_text(projection.as_text())
    assert np.array_equal(again.matrix, projection.matrix)
    assert again.name == projection.name
    assert len(again.name) == 16
    assert again.name != of_view(0.51).name
    assert again.is_near(of_view(0.5001))
    assert not again.is_near(steep())
    assert not again.is_near(learned(np.eye(3), 1))


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3, dtype=np.float32),
        np.eye(3, 4, dtype=np.float16),
        np.zeros((0, 0), np.float16),
        np.full((2, 2), np.nan, np.float16),
        np.array([[1, 0], [1, 1]], np.float16),
        np.array([[1, 1], [1, 1]], np.float16),
        np.diag(np.array([1, 0.001], np.float16)),
    ],
)
def test_a_matrix_that_is_no_projection(matrix: np.ndarray) -> None:
    """Of another type, not square, not finite, not symmetric, or not to be undone."""
    with pytest.raises(ValueError, match="matrix"):
        Projection(matrix)


@pytest.mark.parametrize("text", [None, 5, "", "%%%", "AAA", "AAAAAAAA"])
def test_text_that_is_no_projection(text: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever is wrong with it
        Projection.from_text(text)


def test_products_are_drawn_whole() -> None:
    """The interval of a mean widens where values of a product agree, and is the mean where all do."""
    generator = np.random.default_rng(0)
    values = generator.standard_normal(400)
    alone = estimated(values, np.arange(400))
    together = estimated(values[:40].repeat(10), np.arange(400) // 10)
    assert alone.mean == pytest.approx(values.mean())
    assert alone.low < alone.mean < alone.high
    assert alone.high - alone.low == pytest.approx(2 * 1.96 / np.sqrt(400), rel=0.15)
    assert together.high - together.low > 2.5 * (alone.high - alone.low)
    constant = estimated(np.full(9, 0.5), np.arange(9) // 2)
    assert (constant.mean, constant.low, constant.high) == (0.5, 0.5, 0.5)
    assert estimated(values, np.arange(400)) == alone
