"""Rows in columns: whatever is stored is read as row by row, and no value may differ from what was sealed."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from imgsearch.errors import InstanceDamaged
from imgsearch.filters.tree import EVERYTHING, category_condition
from imgsearch.quantization import Coding
from imgsearch.storage.records import ITEM_ROW
from imgsearch.storage.sqlite import columns as columns_module
from imgsearch.storage.sqlite import ranked
from imgsearch.storage.sqlite.columns import (
    FEATURE_COLUMNS,
    ROW_COLUMNS,
    FeatureColumns,
    Wanted,
    is_binary_safe,
    verified_rows,
)
from imgsearch.storage.sqlite.store import Store
from imgsearch.types import Upsert
from imgsearch.values import Attributes, Key, Location, Region, RegionMode
from tests.storage.builders import change, scattered, write

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS = [
    "plain",
    "it's",
    'quo"te',
    "back\\slash",
    "new\nline",
    "naïve",
    "紅🟥",
    "None",
    "NULL",
    "'",
    "a, b",
    "%s %",
    "\x7f",
]
ODD = ["a\x1fb", "\x1e", "\x1e\x1f", "\x1f"]
"""What separates values, and stands for unset ones, as values."""
BLOBS = [b"16 bytes, b'quot\"", bytes(16), b", b', b', b', b'", bytes(range(240, 256)), b"\\\n\t'\"0123456789a"]


def of_all_kinds() -> list[Upsert]:
    """Items with everything that a row may hold, unset values between others."""
    made = []
    for number, text in enumerate([*TEXTS, *ODD, *map(str, range(30))]):
        extracted = replace(
            change().extracted,
            content_hash=BLOBS[number % len(BLOBS)],
            token=[None, b"", b"token", b"x', b'"][number % 4],
            picture_hash=None if number % 3 else bytes(range(number, number + 32)),
            subjects=(Region(0, 5, 0, 9),) * (number % 2),
            region=Region(0, 9 + number, 0, 9),
            category_id=number % 5,
            feature=scattered(60, 3)[number],
        )
        attributes = Attributes(
            custom_content=text if number % 2 else None,
            int_attr=-number if number % 3 else None,
            int_attr3=7,
            str_attr=text,
            str_attr4=text[:1] if number % 7 else None,
        )
        location = Location("/photos", text.replace("/", "_")) if number % 4 else None
        made.append(
            Upsert(Key(text, f"{text}.jpg"), extracted, RegionMode.SUBJECT, bool(number % 2), attributes, location)
        )
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    Store.create(tmp_path / "instance.db", {"kind": "generic"})
    with closing(Store.open(tmp_path / "instance.db", write=True)) as opened:
        write(opened, of_all_kinds())
        yield opened


def verified(store: Store) -> dict[int, bool]:
    columns = store.connection.execute(f"SELECT {ROW_COLUMNS} FROM items").fetchone()
    ids, found = verified_rows(columns, Wanted([]))
    return dict(zip(ids.tolist(), found.tolist(), strict=True))


def test_sealed_rows_are_verified_whatever_they_hold(store: Store) -> None:
    """All but those with a separator in them, which are left to the caller."""
    store.connection.execute("DELETE FROM items WHERE instr(product_id, char(30)) OR instr(product_id, char(31))")
    rows = verified(store)
    assert len(rows) == len(TEXTS) + 30
    assert all(rows.values())


@pytest.mark.parametrize("column", [*ITEM_ROW[1:], "seal"])
def test_an_altered_value_is_not_verified(store: Store, column: str) -> None:
    store.connection.execute("DELETE FROM items WHERE instr(product_id, char(30)) OR instr(product_id, char(31))")
    altered = {"content_hash": b"other", "token": b"other", "picture_hash": b"other"}
    names = (
        "product_id",
        "pic_name",
        "subjects",
        "relative_path",
        "custom_content",
        *(f"str_attr{n}" for n in ("", 2, 3, 4)),
    )
    value: Any = altered.get(column, "other" if column in names else 1 if column == "root_id" else 12345)
    if column == "root_id":
        store.connection.execute("UPDATE items SET root_id = NULL WHERE id = 2")
    else:
        store.connection.execute(f"UPDATE items SET {column} = ? WHERE id = 2", (value,))
    rows = verified(store)
    assert rows == {number: number != 2 for number in rows}
    store.verify(sorted(rows.keys() - {2}))
    with pytest.raises(InstanceDamaged):
        store.verify(rows)


def test_altered_features_are_not_verified(store: Store) -> None:
    def read() -> FeatureColumns:
        return FeatureColumns.read(
            store.connection.execute(f"SELECT {FEATURE_COLUMNS} FROM features").fetchone(), Wanted([]), Coding()
        )

    assert read().verified
    assert (read().features == scattered(60, 3)[: len(read().ids)]).all()
    store.connection.execute("UPDATE features SET feature = zeroblob(length(feature)) WHERE id = 3")
    assert not read().verified
    store.connection.execute("UPDATE features SET feature = x'00' WHERE id = 3")
    assert not read().verified
    store.connection.execute("DELETE FROM features")
    assert len(read().ids) == 0


@pytest.mark.parametrize("joins_blobs", [True, False])
def test_a_search_reads_the_same_with_and_without_columns(
    store: Store, monkeypatch: pytest.MonkeyPatch, joins_blobs: bool
) -> None:
    assert is_binary_safe(), "as SQLite has been for years"
    monkeypatch.setattr(ranked, "is_binary_safe", lambda: joins_blobs)
    given = of_all_kinds()
    ids = np.random.default_rng(1).permutation(np.arange(1, len(given) + 1))
    found, features = store.features_of(ids.tolist())
    assert (features == scattered(60, 3)[found - 1]).all()
    pictures, marked = store.candidates(ids, features, category_condition((2,)))
    expected = [(given[number - 1].key.product_id, given[number - 1].extracted.category_id) for number in ids.tolist()]
    assert pictures.groups == expected
    assert marked.tolist() == [category == 2 for _, category in expected]
    (some,) = store.siblings(ids.tolist())
    assert dict(zip(some.ids.tolist(), some.groups, strict=True)) == dict(zip(ids.tolist(), expected, strict=True))
    assert (some.features == scattered(60, 3)[some.ids - 1]).all()
    names = [one.key.product_id for one in given]
    firsts, of = store.first_of_products([*names, "none", "紅"], 64)
    assert dict(zip(firsts.tolist(), of.tolist(), strict=True)) == {
        number: names.index(name) for number, name in enumerate(names, 1)
    }
    store.verify(ids.tolist())
    store.connection.execute("UPDATE items SET str_attr = 'other' WHERE id = 5")
    with pytest.raises(InstanceDamaged):
        store.verify(ids.tolist())
    with pytest.raises(InstanceDamaged):
        store.verify([1, len(given) + 1])
    store.connection.execute("UPDATE features SET feature = zeroblob(length(feature)) WHERE id = 3")
    with pytest.raises(InstanceDamaged):
        list(store.siblings(ids.tolist()))


def test_more_rows_than_a_statement_reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranked, "MANY", 7)
    count = len(of_all_kinds())
    ids, features = store.features_of(range(1, count + 1))
    assert (features == scattered(60, 3)[ids - 1]).all()
    pictures, _ = store.candidates(ids[::-1], features[::-1], EVERYTHING)
    assert [name for name, _ in pictures.groups] == [one.key.product_id for one in of_all_kinds()][::-1]
    assert [len(some.ids) for some in store.siblings(range(1, count + 1))][:2] == [7, 7]
    assert sorted(store.matching(range(1, count + 9), category_condition((0,))).tolist()) == list(
        range(1, count + 1, 5)
    )


def test_a_sqlite_that_does_not_join_blobs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    is_binary_safe.cache_clear()
    monkeypatch.setattr(columns_module, "_bytes", lambda column: f"CAST(group_concat(hex({column})) AS BLOB)")
    assert not is_binary_safe()
    is_binary_safe.cache_clear()
