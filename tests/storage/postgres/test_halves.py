"""Features come back from the server bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.storage.builders import change, scattered, stored

if TYPE_CHECKING:
    from imgsearch.storage.postgres.engine import PostgresEngine


def test_every_half_comes_back(engine: PostgresEngine) -> None:
    """The smallest and the largest numbers, both zeros, and those that are no sum of others."""
    edges = np.array([0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 1.0, -1.0, 65504.0, 0.1, 1 / 3], np.float16)
    features = [np.roll(edges, turn).astype(np.float32) for turn in range(len(edges))]
    with engine.committing(["p"]) as store:
        ids = store.insert([change("p", str(n), feature) for n, feature in enumerate(features)])
    for number, feature in zip(ids, features, strict=True):
        back = engine.store.feature(number).astype(np.float16)
        assert back.tobytes() == feature.astype(np.float16).tobytes()


@pytest.mark.parametrize("dimension", [1, 2, 255, 768])
def test_any_dimension_will_do(engine: PostgresEngine, dimension: int) -> None:
    feature = stored(scattered(1, dimension=dimension)[0])
    with engine.committing(["p"]) as store:
        (number,) = store.insert([change("p", "1", feature)])
    assert np.array_equal(engine.store.feature(number), feature)
    assert engine.rebuild().dimension == dimension
