"""Readers have a connection for themselves, in whatever thread they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from imgsearch.errors import InstanceDamaged, InstanceLocked, InstanceNotFound, UsageError
from imgsearch.storage.engine import Engine
from imgsearch.storage.readers import MAX_IDLE, Readers
from tests.storage.builders import fill, scattered


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


def exchange(home: Path, count: int) -> None:
    """Put another instance with so many items in its place, as whoever restores a backup does."""
    other = home.with_name("other")
    other.mkdir(mode=0o700)
    Engine.create(other, {"kind": "product", "created": count})
    with closing(Engine.open(other, write=True)) as engine:
        fill(engine, scattered(count))
    home.rename(home.with_name(f"before {count}"))
    other.rename(home)


def test_an_instance_that_takes_the_place_is_read(home: Path) -> None:
    """From the next read on, in each thread; the settings of each engine that is opened are told before it is lent."""
    known: list[int] = []
    readers = Readers(Engine.open(home), lambda engine: known.append(engine.store.settings()["created"]))
    with closing(readers):
        with readers.reading() as first, readers.reading() as second:
            assert (first.store.count(), second.store.count(), known) == (0, 0, [1])
        exchange(home, 7)
        with readers.reading() as first, readers.reading() as second:
            assert (first.store.count(), second.store.count(), known) == (7, 7, [1, 7, 7])
        with readers.reading() as again:
            assert again in (first, second)
        assert known == [1, 7, 7]


def test_one_that_has_gone_is_not_found_until_it_is_back(home: Path, readers: Readers) -> None:
    """A folder that was removed, or not mounted."""
    away = home.with_name("away")
    home.rename(away)
    for _ in range(2):
        with pytest.raises(InstanceNotFound), readers.reading():
            pass
    away.rename(home)
    with readers.reading() as engine:
        assert engine.store.count() == 0


def test_what_is_replaced_during_a_read_is_not_damaged(home: Path, readers: Readers) -> None:
    """The index of the one does not match the database of the other; the next read is of one alone."""

    def read(meanwhile: Callable[[], None]) -> None:
        with readers.reading() as engine:
            meanwhile()
            raise engine.store.damage("a feature")

    with pytest.raises(InstanceDamaged):
        read(lambda: None)
    with pytest.raises(InstanceLocked, match="replaced by another instance") as told:
        read(lambda: exchange(home, 5))
    assert told.value.exit_code == 5
    with readers.reading() as engine:
        assert engine.store.count() == 5
