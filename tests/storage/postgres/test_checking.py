"""Damage is found, named and repaired; what cannot be repaired goes into the quarantine."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from imgsearch.errors import StorageFull
from imgsearch.filters.tree import EVERYTHING
from imgsearch.values import Location
from tests.storage.builders import change, scattered
from tests.storage.postgres.conftest import PATIENCE, Opener

if TYPE_CHECKING:
    from imgsearch.storage.integrity.problems import Problem
    from imgsearch.storage.postgres.engine import PostgresEngine

FEATURES = scattered(8)
REQUIRED = ("kind", "created", "model")


@pytest.fixture
def filled(engine: PostgresEngine) -> PostgresEngine:
    with engine.committing() as store:
        store.insert([change(f"p{n}", "1", FEATURES[n], category=n % 2, location=Location("/shop")) for n in range(6)])
    engine.rebuild()
    return engine


def problems(engine: PostgresEngine, *, read_data: bool = True) -> list[Problem]:
    from imgsearch.storage.postgres.checking import check

    return check(engine, read_data=read_data, settings=REQUIRED)


def test_a_sound_instance_has_none(filled: PostgresEngine) -> None:
    assert problems(filled) == []


DAMAGES = {
    "an item": ("UPDATE items SET x2 = x2 + 1 WHERE product_id = 'p1'", "ItemDamaged", {"p1"}),
    "a feature": (
        "UPDATE features SET feature = feature + feature WHERE id = (SELECT min(id) FROM features)",
        "FeatureDamaged",
        {"p0"},
    ),
    "a short feature": (
        "UPDATE features SET feature = '[1, 0]' WHERE id = (SELECT max(id) FROM features)",
        "FeatureDamaged",
        {"p5"},
    ),
    "no feature": ("DELETE FROM features WHERE id = (SELECT max(id) FROM features)", "FeatureMissing", {"p5"}),
    "no item": ("DELETE FROM items WHERE product_id = 'p2'", "FeatureOrphaned", {"p2"}),
    "counts": ("UPDATE counts SET items = items + 1 WHERE category_id = 0", "CountsWrong", set[str]()),
    "a folder": ("UPDATE roots SET path = '/other'", "LocationDamaged", set[str]()),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_repaired(filled: PostgresEngine, opener: Opener, name: str) -> None:
    from imgsearch.storage.postgres.repairing import repair

    statement, damage, lost = DAMAGES[name]
    filled.store.link.run(statement)
    filled.close()
    engine = opener(alone=True, timeout=PATIENCE)
    assert damage in {str(one.damage) for one in problems(engine)}
    done = repair(engine, settings=REQUIRED)
    assert done.problems == []
    assert damage in {str(one.damage) for one in done.repaired}
    assert problems(engine) == []
    left = {key.product_id for key in engine.store.keys(EVERYTHING)}
    assert left == {f"p{n}" for n in range(6)} - lost
    assert {loss.product_id for loss in done.lost} - {None} == lost - {"p2"}
    if name == "a folder":
        assert all(item.location is None for item in engine.store.items(EVERYTHING))


def test_losses_of_a_repair_that_did_not_end_are_told_by_the_next(
    filled: PostgresEngine, opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imgsearch.storage.postgres.repairing import repair

    filled.store.link.run(DAMAGES["a feature"][0])
    filled.close()
    engine = opener(alone=True, timeout=PATIENCE)
    with monkeypatch.context() as patch:
        for step in ("rebuild", "drop_index_if_empty"):
            patch.setattr(engine, step, Mock(side_effect=StorageFull("no room")))
        with pytest.raises(StorageFull):
            repair(engine, settings=REQUIRED)
    assert problems(engine) == []
    assert [loss.product_id for loss in repair(engine, settings=REQUIRED).lost] == ["p0"]
    assert repair(engine, settings=REQUIRED).lost == []


def test_a_deletion_reaches_the_quarantine(filled: PostgresEngine, opener: Opener) -> None:
    from imgsearch.storage.postgres.repairing import repair

    filled.store.link.run(DAMAGES["an item"][0])
    filled.close()
    engine = opener(alone=True, timeout=PATIENCE)
    repair(engine, settings=REQUIRED)
    kept = engine.store.link.rows("SELECT product_id, reason, location FROM quarantine")
    assert kept == [("p1", "the item did not match its checksum", "/shop")]
    with engine.committing() as store:
        store.delete(EVERYTHING)
    assert engine.store.link.rows("SELECT product_id FROM quarantine") == []


def test_broken_settings_are_for_the_backup(filled: PostgresEngine, opener: Opener) -> None:
    from imgsearch.storage.postgres.repairing import repair

    filled.store.link.run("UPDATE settings SET value = '2' WHERE name = 'created'")
    filled.store.link.run("DELETE FROM settings WHERE name = 'kind'")
    filled.close()
    engine = opener(alone=True, timeout=PATIENCE)
    assert [str(one.damage) for one in problems(engine)] == ["SettingsDamaged"] * 2
    assert [str(one.damage) for one in repair(engine, settings=REQUIRED).problems] == ["SettingsDamaged"] * 2


def test_missing_and_half_made_indexes_are_told(filled: PostgresEngine) -> None:
    from imgsearch.storage.postgres.index_building import build

    build(filled.store, whole=True, flat_limit=2)
    assert problems(filled) == []
    first, *_ = filled.store.partitions.indexes()
    filled.store.link.run(f"DROP INDEX {first.name}")
    assert [str(one.damage) for one in problems(filled)] == ["IndexMissing"]
    build(filled.store, whole=False, flat_limit=2)
    assert problems(filled) == []
