"""Fixtures of the engine's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from imgsearch.storage.faiss import clustering
from tests.storage.builders import INDEXED, clustered, make_index

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.storage.sqlite.generations import Generation
    from tests.storage.builders import Features


@pytest.fixture
def iterations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has an entry for each iteration of k-means since it was cleared."""
    sums, counted = clustering._sums, []

    def count(*arguments: Any) -> Any:
        counted.append(1)
        return sums(*arguments)

    monkeypatch.setattr(clustering, "_sums", count)
    return counted


@pytest.fixture(scope="module")
def features() -> Features:
    """What the indexes of these tests hold."""
    return clustered(INDEXED)


@pytest.fixture(scope="module")
def ids() -> npt.NDArray[np.int64]:
    """Rising, with gaps, beyond 32 bits: our own ids, not FAISS's positions."""
    return np.cumsum(np.random.default_rng(0).integers(1, 5, INDEXED)) + 2**40


@pytest.fixture(scope="module", params=["flat", "IVF"])
def built(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    features: Features,
    ids: npt.NDArray[np.int64],
) -> tuple[Path, Generation]:
    """A generation of each structure, not to be changed."""
    folder = tmp_path_factory.mktemp("index")
    return folder, make_index(folder, features, ids, flat_limit=INDEXED if request.param == "flat" else INDEXED - 1)
