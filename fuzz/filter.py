"""``parse_filter``: text becomes a condition that SQLite runs, and that splits the items in two, or is refused."""

from __future__ import annotations

import sqlite3

from fuzz.checks import check_error
from imgsearch.errors import InvalidFilter
from imgsearch.filters.parser import parse_filter
from imgsearch.storage.sqlite.conditions import Sql, compiled
from imgsearch.values import ATTRIBUTE_COLUMNS

ITEMS = sqlite3.connect(":memory:")
COLUMNS = [name for name in ATTRIBUTE_COLUMNS if name != "custom_content"]
ROWS = [
    [number - 1 if name.startswith("int") else "red" if number else "wool" for name in COLUMNS] for number in range(3)
]
ITEMS.execute(f"CREATE TABLE items ({', '.join(COLUMNS)})")
ITEMS.executemany(f"INSERT INTO items VALUES ({', '.join('?' * len(COLUMNS))})", ROWS)
ITEMS.execute("PRAGMA query_only = ON")


def count(sql: Sql) -> int:
    (number,) = ITEMS.execute(f"SELECT count(*) FROM items WHERE {sql.text}", sql.parameters).fetchone()
    return int(number)


def target(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        condition = parse_filter(text)
    except InvalidFilter as error:
        check_error(error)
        return
    assert count(compiled(condition)) + count(compiled(condition.negated())) == len(ROWS)
