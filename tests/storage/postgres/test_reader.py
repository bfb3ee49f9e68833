"""Reading in chunks, and names that cannot be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imgsearch.filters.tree import EVERYTHING
from imgsearch.values import Attributes, Key
from tests.storage.builders import change, scattered

if TYPE_CHECKING:
    from imgsearch.storage.postgres.engine import PostgresEngine

FEATURES = scattered(4)


def test_chunks_join_without_a_gap(engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their size, by id and by key, while others write between them."""
    from imgsearch.storage.postgres import reader

    monkeypatch.setattr(reader, "CHUNK", 7)
    with engine.committing() as store:
        ids = list(store.insert([change(f"p{n % 5}", f"{n:02}", FEATURES[n % 4]) for n in range(40)]))
    assert [one for piece, _ in engine.store.scan(EVERYTHING, chunk=7) for one in piece.tolist()] == ids
    assert len(list(engine.store.all_stored_records(chunk=7))) == 40
    keys = [item.key for item in engine.store.items_by_key(EVERYTHING)]
    assert keys == sorted(Key(f"p{n % 5}", f"{n:02}") for n in range(40))
    assert [item.key for item in engine.store.items_by_key(EVERYTHING, start=9, limit=20)] == keys[9:29]
    assert list(engine.store.items_by_key(EVERYTHING, limit=0)) == []
    assert list(engine.store.items_by_key(EVERYTHING, start=99)) == []
    seen = 0
    for piece, _ in engine.store.scan(EVERYTHING, chunk=7):
        seen += len(piece)
        with engine.committing(["p9"]) as store:
            store.upsert(change("p9", "x", FEATURES[0]))
        if seen >= 35:
            break
    assert engine.store.count() == 41


def test_a_name_that_is_no_text_is_told_as_such(engine: PostgresEngine) -> None:
    """As of a file whose name is not UTF-8; the connection goes on."""
    with pytest.raises(UnicodeEncodeError):
        engine.store.versions([("p", "\udcff.jpg")], "/shop", Attributes())
    assert engine.store.count() == 0
