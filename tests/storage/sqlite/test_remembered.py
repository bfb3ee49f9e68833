"""What conditions mean is remembered for one state of the database, and for no other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from imgsearch.filters.parser import parse_filter
from imgsearch.filters.tree import EVERYTHING, product_condition
from imgsearch.storage.engine import Engine
from imgsearch.storage.sqlite import remembered
from imgsearch.storage.sqlite.remembered import Remembered
from imgsearch.values import Attributes, Key
from tests.storage.builders import change, write

CONDITION = parse_filter("int_attr<50")


def test_commits_of_others_and_own_changes_are_seen(tmp_path: Path) -> None:
    Engine.create(tmp_path, {"kind": "generic"})
    with closing(Engine.open(tmp_path, write=True)) as writer, closing(Engine.open(tmp_path)) as reader:
        for number in range(100):
            write(writer.store, [change(f"p{number}", "a", attributes=Attributes(int_attr=number))])
            for store in (writer.store, reader.store):  # of which one remembers
                expected = list(range(1, min(number + 1, 50) + 1))
                for _ in range(2):
                    assert store.count(CONDITION) == len(expected)
                    assert store.matching_ids(CONDITION).tolist() == expected
        with writer.committing() as changed:
            changed.delete(product_condition("p0"))
            assert changed.count(CONDITION) == 49, "before the commit"
            assert reader.store.count(CONDITION) == 50
        with reader.store.reading():
            assert reader.store.count(CONDITION) == 49
            with writer.committing() as changed:
                changed.delete(product_condition("p1"))
            assert reader.store.matching_ids(CONDITION).tolist() == list(range(2, 51)), "one snapshot"
        assert reader.store.matching_ids(CONDITION).tolist() == list(range(3, 51))


def test_how_often_a_condition_was_counted(tmp_path: Path) -> None:
    """Since the last commit of anybody; a writer does not know, as it remembers nothing."""
    Engine.create(tmp_path, {"kind": "generic"})
    with closing(Engine.open(tmp_path, write=True)) as writer, closing(Engine.open(tmp_path)) as reader:
        for number in range(2):
            write(writer.store, [change(f"p{number}")])
            assert reader.store.asked(CONDITION) == (3 if number else 1), "before it is looked at again"
            for times in (1, 2, 3):
                assert (reader.store.count(CONDITION), writer.store.count(CONDITION)) == (0, 0)
                assert (reader.store.asked(CONDITION), writer.store.asked(CONDITION)) == (times, 1)


def test_what_is_rolled_back_was_never_there(tmp_path: Path) -> None:
    Engine.create(tmp_path, {"kind": "generic"})
    with closing(Engine.open(tmp_path, write=True)) as writer:
        try:
            with writer.committing() as changed:
                changed.upsert(change("p", "a", attributes=Attributes(int_attr=1)))
                assert changed.count(CONDITION) == 1
                raise KeyError
        except KeyError:
            pass
        assert (writer.store.count(CONDITION), writer.store.count(EVERYTHING)) == (0, 0)
        assert writer.store.item(Key("p", "a")) is None


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        (np.arange(0), 0),
        (np.array([0]), 1),
        (np.array([3, 800]), 8),
        (np.arange(1, 9_000, 36), 4 * 250),
        (np.arange(1, 9_000, 30), 8_971 / 8),
        (np.array([5, 2**40]), 16),
    ],
)
def test_ids_come_again_as_they_were(ids: npt.NDArray[np.int64], kept: float) -> None:
    """However they are kept, in at most a bit for each item or eight bytes for each id."""
    memory = Remembered()
    with closing(sqlite3.connect(":memory:")) as connection:
        for _ in range(2):
            found = memory.ids(connection, CONDITION, lambda: ids).ids()
            assert (found.dtype, found.tolist()) == (np.int64, ids.tolist())
    assert memory._ids[CONDITION].nbytes == pytest.approx(kept, abs=1)


def test_many_conditions_are_forgotten_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "KEPT", 8)
    monkeypatch.setattr(remembered, "KEPT_BYTES", 20)  # of at most four each
    Engine.create(tmp_path, {"kind": "generic"})
    with closing(Engine.open(tmp_path, write=True)) as writer:
        write(writer.store, [change(f"p{n}", "a", attributes=Attributes(int_attr=n)) for n in range(30)])
        with closing(Engine.open(tmp_path)) as reader:
            for limit in [*range(30), 29, *range(30)]:
                few, many = parse_filter(f"int_attr={limit}"), parse_filter(f"int_attr<{limit}")
                for _ in range(2):
                    assert (reader.store.count(few), reader.store.count(many)) == (1, limit)
                    assert reader.store.matching_ids(few).tolist() == [limit + 1]
                    assert reader.store.matching_ids(many).tolist() == list(range(1, limit + 1))
                known = reader.store._remembered
                assert len(known._counts) <= 8
                assert known._counts.keys() == known._asked.keys()
                assert sum(ids.nbytes for ids in known._ids.values()) <= 20
            assert len(known._counts) == 8
            assert len(known._ids) >= 5
