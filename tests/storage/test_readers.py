"""Readers have a connection for themselves, in whatever thread they are."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from imgsearch.errors import UsageError
from imgsearch.storage.engine import Engine
from imgsearch.storage.readers import MAX_IDLE, Readers


@pytest.fixture
def readers(home: Path) -> Iterator[Readers]:
    opened = Readers(Engine.open(home))
    yield opened
    opened.close()


def test_one_engine_serves_who_comes_one_after_the_other(readers: Readers) -> None:
    with readers.reading() as first:
        pass
    with readers.reading() as second:
        assert second is first


def test_an_engine_is_lent_to_one_at_a_time(readers: Readers) -> None:
    """Also within a thread: a snapshot that is being iterated is nobody else's."""
    with readers.reading() as first, first.store.reading(), readers.reading() as second:
        assert second is not first
        with second.store.reading():
            assert second.store.count() == first.store.count() == 0


def test_threads_read_side_by_side(readers: Readers) -> None:
    def read(_number: int) -> int:
        with readers.reading() as engine, engine.store.reading():
            return engine.store.count()

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(read, range(400))) == {0}
    assert 1 <= len(readers._idle) <= MAX_IDLE


def test_as_many_stay_open_as_read_at_once(readers: Readers) -> None:
    """A second round of as many readers opens nothing."""

    def engines() -> set[int]:
        with ExitStack() as stack:
            return {id(stack.enter_context(readers.reading())) for _ in range(MAX_IDLE)}

    assert engines() == engines()


def test_no_more_stay_open(readers: Readers) -> None:
    with ExitStack() as stack:
        lent = [stack.enter_context(readers.reading()) for _ in range(MAX_IDLE + 2)]
        assert len(set(map(id, lent))) == MAX_IDLE + 2
    assert len(readers._idle) == MAX_IDLE


def test_nothing_is_lent_when_all_is_closed(readers: Readers) -> None:
    """What is lent then is closed when it comes back."""
    with readers.reading() as engine:
        readers.close()
        assert engine.store.count() == 0
    with pytest.raises(Exception, match="closed"):
        engine.store.count()
    with pytest.raises(UsageError, match="has been closed"), readers.reading():
        pass


def test_all_are_closed_even_if_closing_one_fails(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    with readers.reading() as first, readers.reading() as second, readers.reading() as third:
        pass

    def fail() -> None:
        raise OSError("an error of the disk")

    with monkeypatch.context() as patch:
        patch.setattr(second, "close", fail)
        with pytest.raises(OSError, match="an error of the disk"):
            readers.close()
    for engine in (first, third):
        with pytest.raises(Exception, match="closed"):
            engine.store.count()
    second.close()
