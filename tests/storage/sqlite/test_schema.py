"""The schema: one format version, foreign and newer databases are told apart, triggers keep what is derived right."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.errors import InstanceDamaged, NewerFormat
from imgsearch.storage.engine import Engine
from imgsearch.storage.sqlite.schema import (
    APPLICATION_ID,
    FORMAT_VERSION,
    MIGRATIONS,
    PACKED_VERSION,
    check_version,
    migrate,
)
from imgsearch.storage.sqlite.store import DATABASE_NAME, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def memory() -> Iterator[sqlite3.Connection]:
    """An empty database, as ``connect`` would open it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


def schema(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()


def pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def test_migrate_makes_the_current_format_and_marks_it(memory: sqlite3.Connection) -> None:
    migrate(memory)
    assert check_version(memory, "here") == FORMAT_VERSION == len(MIGRATIONS)
    assert (pragma(memory, "application_id"), pragma(memory, "user_version")) == (APPLICATION_ID, FORMAT_VERSION)
    assert not memory.in_transaction


def test_migrate_is_idempotent(memory: sqlite3.Connection) -> None:
    migrate(memory)
    before = schema(memory)
    memory.execute("INSERT INTO settings VALUES ('a', '1', 0)")
    migrate(memory)
    assert schema(memory) == before
    assert memory.execute("SELECT * FROM settings").fetchall() == [("a", "1", 0)]


def test_a_migration_that_fails_leaves_nothing(memory: sqlite3.Connection) -> None:
    """All steps are one transaction: a table that is in the way undoes what came before it."""
    memory.execute("CREATE TABLE counts (in_the_way)")
    before = schema(memory)
    with pytest.raises(sqlite3.OperationalError, match="counts"):
        migrate(memory)
    memory.execute("ROLLBACK")
    assert schema(memory) == before
    assert pragma(memory, "user_version") == 0


@pytest.mark.parametrize(
    ("application", "version", "error"),
    [
        (0, 0, InstanceDamaged),  # an empty database
        (0, FORMAT_VERSION, InstanceDamaged),
        (APPLICATION_ID + 1, FORMAT_VERSION, InstanceDamaged),
        (APPLICATION_ID + 1, PACKED_VERSION + 1, InstanceDamaged),
        (APPLICATION_ID, 0, InstanceDamaged),
        (APPLICATION_ID, -1, InstanceDamaged),
        (APPLICATION_ID, PACKED_VERSION + 1, NewerFormat),
        (APPLICATION_ID, 2**31 - 1, NewerFormat),
    ],
)
@pytest.mark.parametrize("write", [True, False])
def test_foreign_and_newer_databases_are_refused_and_left_alone(
    home: Path, application: int, version: int, error: type[Exception], write: bool
) -> None:
    path = home / DATABASE_NAME
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {application}")
        connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(error, match=DATABASE_NAME) as refused:
        Engine.open(home, write=write)
    assert refused.value.exit_code == 6  # type: ignore[attr-defined]
    assert path.read_bytes() == before


def test_a_newer_format_names_both_versions(home: Path) -> None:
    with closing(sqlite3.connect(home / DATABASE_NAME, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 97")
    with pytest.raises(NewerFormat, match=rf"format 97; this release supports up to {PACKED_VERSION}: install"):
        Store.open(home / DATABASE_NAME, write=False)


INSERT = (
    "INSERT OR REPLACE INTO items (product_id, pic_name, category_id, category_given, region_mode, x1, x2, y1, y2, "
    "content_hash) VALUES (?, '1', ?, 0, 0, 0, 1, 0, 1, x'00')"
)

names = st.sampled_from("abcdefgh")
categories = st.sampled_from([0, 3, 22, 88888888])
changes = st.one_of(
    st.tuples(st.just("upsert"), names, categories),
    st.tuples(st.just("move"), names, categories),
    st.tuples(st.just("delete"), names, st.none()),
    st.tuples(st.just("delete category"), st.none(), categories),
    st.tuples(st.just("publish"), st.none(), st.none()),
    st.tuples(st.just("roll back"), names, categories),
)


@pytest.mark.extended
@settings(deadline=None, max_examples=120)
@given(steps=st.lists(changes, max_size=40))
def test_triggers_keep_counts_and_removed_right(steps: list[tuple[str, str, int]]) -> None:
    """``counts`` is what counting would give, ``removed`` is what the generation holds and the items do not.

    Whoever inserts counts, as the store does; the triggers do the rest.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection)
        items: dict[str, tuple[int, int]] = {}  # name to id and category
        published: set[int] = set()
        given_ids: set[int] = set()
        for step, name, category in steps:
            if step == "upsert":
                connection.execute("DELETE FROM items WHERE product_id = ?", (name,))
                new = connection.execute(INSERT, (name, category)).lastrowid
                assert new is not None
                assert new > max(given_ids, default=0)  # never an id that was given before
                given_ids.add(new)
                connection.execute("INSERT INTO features VALUES (?, x'00', 0)", (new,))
                connection.execute(
                    "INSERT INTO counts VALUES (?, 1) ON CONFLICT (category_id) DO UPDATE SET items = items + 1",
                    (category,),
                )
                items[name] = (new, category)
            elif step == "move":
                connection.execute("UPDATE items SET category_id = ? WHERE product_id = ?", (category, name))
                items |= {name: (items[name][0], category)} if name in items else {}
            elif step == "delete":
                connection.execute("DELETE FROM items WHERE product_id = ?", (name,))
                items.pop(name, None)
            elif step == "delete category":
                connection.execute("DELETE FROM items WHERE category_id = ?", (category,))
                items = {name: item for name, item in items.items() if item[1] != category}
            elif step == "publish":
                published = {number for number, _ in items.values()}
                connection.execute("DELETE FROM generations")
                connection.execute(
                    "INSERT INTO generations VALUES (1, 'flat', 0, '', ?, ?, NULL, NULL, 0, 0, NULL, NULL)",
                    (len(published), max(given_ids, default=0)),
                )
                connection.execute("DELETE FROM removed")
            else:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("DELETE FROM items WHERE product_id = ?", (name,))
                connection.execute(INSERT, (name + "x", category))
                connection.execute("UPDATE items SET category_id = 5")
                connection.execute("ROLLBACK")
        counts = dict(connection.execute("SELECT category_id, items FROM counts WHERE items <> 0"))
        assert counts == Counter(category for _, category in items.values())
        present = {number for number, _ in items.values()}
        assert {row[0] for row in connection.execute("SELECT id FROM removed")} == published - present
        assert {row[0] for row in connection.execute("SELECT id FROM features")} == present
