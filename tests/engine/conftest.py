"""Fixtures of the engine's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import pytest

from imgsearch.engine.engine import Engine
from imgsearch.engine.store import DATABASE_NAME, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
