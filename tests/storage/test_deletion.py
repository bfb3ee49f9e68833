"""Deleting for good: after ``delete`` and ``rebuild``, no file of the instance holds what was deleted.

Looked for are the bytes of features and the text of names and attributes, in whatever file and at whatever place.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from functools import lru_cache
from typing import TYPE_CHECKING

import pytest

from imgsearch.filters.tree import EVERYTHING, product_condition
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.repair import repair
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.values import Attributes, Location
from tests.storage.builders import change, scattered

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from imgsearch.storage.sqlite.store import Upsert

WAL_NAME = f"{DATABASE_NAME}-wal"


@lru_cache(maxsize=1000)
def marked(number: int) -> Upsert:
    """An item whose texts and feature are nobody else's; they come in an order of their own."""
    unique = random.Random(number).getrandbits(64)
    return change(
        f"product-{unique:016x}",
        f"picture-{unique:016x}.jpg",
        scattered(1, number, dimension=256)[0],
        attributes=Attributes(str_attr=f"attribute-{unique:016x}", custom_content=f"content-{unique:016x}"),
        location=Location(f"/place-{number % 50}-of-pictures", None),
    )


def fill(engine: Engine, numbers: Iterable[int]) -> None:
    """Commit these items, each batch in an order of its own."""
    with engine.committing() as store:
        for number in numbers:
            store.upsert(marked(number))


def delete(engine: Engine, numbers: Iterable[int]) -> None:
    with engine.committing() as store:
        for number in numbers:
            store.delete(product_condition(marked(number).key.product_id))


def left(folder: Path, numbers: Iterable[int]) -> Counter[tuple[str, str]]:
    """In which files what of these items is found, and of how many."""
    found: Counter[tuple[str, str]] = Counter()
    for path in folder.iterdir():
        data = path.read_bytes()
        for number in numbers:
            item = marked(number)
            wanted = {
                "feature": item.extracted.feature.astype("<f2").tobytes()[100:132],
                "product": item.key.product_id.encode(),
                "picture": item.key.pic_name.encode(),
                "attribute": str(item.attributes.str_attr).encode(),
                "content": str(item.attributes.custom_content).encode(),
            }
            found.update((path.name, what) for what, run in wanted.items() if run in data)
    return found


def test_the_search_finds_what_is_there(engine: Engine) -> None:
    """The control: of an item that is stored, all is found in the database, and the feature in the index."""
    fill(engine, range(20))
    engine.rebuild()
    engine.close()
    found = left(engine.folder, [7])
    assert {what for name, what in found if name == DATABASE_NAME} == {
        "feature",
        "product",
        "picture",
        "attribute",
        "content",
    }
    assert found["index-1.faiss", "feature"] == 1


@pytest.mark.parametrize(
    "share", [pytest.param(0.01, marks=pytest.mark.extended), 0.5, pytest.param(0.99, marks=pytest.mark.extended)]
)
def test_deleted_is_deleted(home: Path, share: float) -> None:
    """When a writer has ended, only the index holds features of what it deleted; after a rebuild, nothing does.

    A reader that stays open, as every command has one beside its writer, changes nothing of that.
    """
    with closing(Engine.open(home)) as reader:
        with closing(Engine.open(home, write=True)) as engine:
            fill(engine, range(500))
            engine.rebuild()
        gone = random.Random(1).sample(range(500), int(500 * share))
        with closing(Engine.open(home, write=True)) as engine:
            delete(engine, gone)
        assert reader.store.count() == 500 - len(gone)
        assert set(left(home, gone)) == {("index-1.faiss", "feature")}
        with closing(Engine.open(home, write=True)) as engine:
            engine.rebuild()
        assert left(home, gone) == Counter()
        assert left(home, set(range(500)).difference(gone)) != Counter()


def test_replaced_is_deleted(home: Path) -> None:
    """The earlier feature and attributes of a key go as deleted ones do."""
    first, second = marked(1), marked(2)
    with closing(Engine.open(home, write=True)) as engine:
        fill(engine, range(20))
        with engine.committing() as store:
            store.upsert(change(first.key.product_id, first.key.pic_name, second.extracted.feature))
        engine.rebuild()
    assert set(left(home, [1])) == {(DATABASE_NAME, "product"), (DATABASE_NAME, "picture")}


def test_the_wal_is_empty_when_a_writer_has_ended(home: Path) -> None:
    """Old versions of pages in it would hold what was deleted since; a reader in a snapshot leaves it to the next."""
    with closing(Engine.open(home)) as reader:
        with closing(Engine.open(home, write=True)) as engine:
            fill(engine, range(20))
        assert (home / WAL_NAME).stat().st_size == 0
        with reader.store.reading():
            assert reader.store.count() == 20
            with closing(Engine.open(home, write=True)) as engine:
                delete(engine, [3])
            assert (home / WAL_NAME).stat().st_size > 0
            assert reader.store.count() == 20
        with closing(Engine.open(home, write=True)):
            pass
        assert (home / WAL_NAME).stat().st_size == 0
        assert reader.store.count() == 19


def test_an_emptied_instance_keeps_no_index(home: Path) -> None:
    """There is nothing to rebuild then, so the index would keep the features for ever; items can be added again."""
    with closing(Engine.open(home, write=True)) as engine:
        fill(engine, range(20))
        engine.rebuild()
        engine.drop_index_if_empty()
        assert engine.store.generation() is not None, "there are items"
        with engine.committing() as store:
            store.delete(EVERYTHING)
        engine.drop_index_if_empty()
        assert engine.store.generation() is None
    assert left(home, range(20)) == Counter()
    assert not list(home.glob("index-*"))
    assert b"-of-pictures" not in (home / DATABASE_NAME).read_bytes()
    with closing(Engine.open(home, write=True)) as engine:
        fill(engine, range(5))
        assert engine.rebuild().items == 5


def test_places_that_no_item_names_are_forgotten(home: Path) -> None:
    """The folder of a deleted picture goes with the rebuild, if no other lay there."""
    with closing(Engine.open(home, write=True)) as engine:
        fill(engine, range(100))
        delete(engine, [7, 8, 58])
        engine.rebuild()
        places = {row[0] for row in engine.store.connection.execute("SELECT path FROM roots")}
    assert places == {f"/place-{number}-of-pictures" for number in range(50)} - {"/place-8-of-pictures"}
    assert b"/place-8-of-pictures" not in (home / DATABASE_NAME).read_bytes()
    assert repair(home).repaired == [], "the rest is sound"


def test_what_is_deleted_is_overwritten_whatever_sqlite_does_by_itself(engine: Engine) -> None:
    """Some systems build SQLite with that as the default, others without."""
    assert engine.store.connection.execute("PRAGMA secure_delete").fetchone() == (1,)
    with closing(sqlite3.connect(":memory:")) as plain:
        plain.execute("PRAGMA secure_delete = OFF")
        assert plain.execute("PRAGMA secure_delete").fetchone() == (0,), "the question tells one from the other"
