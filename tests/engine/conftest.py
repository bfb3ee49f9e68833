"""Fixtures of the engine's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np
import pytest

from imgsearch.engine.engine import Engine
from imgsearch.engine.store import DATABASE_NAME, Store
from tests.engine.builders import INDEXED, clustered, make_index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.engine.store import Generation
    from tests.engine.builders import Features


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Threads of FAISS that wait for each other on busy cores would cost a thousand times what a search does."""
    faiss.omp_set_num_threads(1)


@pytest.fixture
def home(folder: Path) -> Path:
    """A folder with an empty instance."""
    folder.mkdir(mode=0o700)
    Engine.create(folder, {"kind": "product", "created": 1})
    return folder


@pytest.fixture
def engine(home: Path) -> Iterator[Engine]:
    """An empty instance, open for writing."""
    opened = Engine.open(home, write=True)
    yield opened
    opened.close()


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """The database of an empty instance, open for writing."""
    opened = Store.open(home / DATABASE_NAME, write=True)
    yield opened
    opened.close()


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
