"""One flipped bit, wherever it is: a check overlooks nothing, and a repair keeps or names every item.

In closed databases, and in those that a killed writer leaves: with commits in the write-ahead log that the database
lacks, or has already. Headers and the schema, on which everything else depends, are hit more often.
"""

from __future__ import annotations

import random
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from imgsearch.errors import NewerFormat, OlderFormat
from imgsearch.filters.tree import EVERYTHING, product_condition
from imgsearch.storage.engine import Engine
from imgsearch.storage.integrity.check import check
from imgsearch.storage.integrity.repair import repair
from imgsearch.storage.sqlite.header import FORMAT_AT, HEADER_BYTES
from imgsearch.storage.sqlite.schema import PAGE_BYTES
from imgsearch.storage.sqlite.store import DATABASE_NAME
from imgsearch.storage.sqlite.wal import FRAME, HEADER, log_of
from tests.storage.builders import DIMENSION, copied, fill, flip, scattered

if TYPE_CHECKING:
    from pathlib import Path

    from imgsearch.storage.integrity.problems import Problem
    from imgsearch.values import Key

ITEMS = 20
HIGH_BIT = 6
"""A log's checksum often cannot tell which word has such a bit flipped."""
FORMAT = range(FORMAT_AT, FORMAT_AT + 4)
"""In the database, no checksum covers it, and a flipped bit means another format."""


def items(folder: Path) -> dict[Key, tuple[int, int, bytes]]:
    with closing(Engine.open(folder)) as engine:
        return {item.key: (item.id, item.category_id, item.content_hash) for item in engine.store.items(EVERYTHING)}


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Instances as they may lie on a disk; not to be changed."""
    base = tmp_path_factory.mktemp("states")
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    Engine.create(closed, {"kind": "product", "model": {"dimension": DIMENSION}})
    with closing(Engine.open(closed, write=True)) as engine:
        fill(engine, scattered(ITEMS))
    made = [closed]
    with closing(Engine.open(copied(closed, base / "work"), write=True)) as engine:
        connection = engine.store.connection
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version}")
        made.append(copied(base / "work", base / "the first page in the log"))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with engine.committing() as store:
            store.delete(product_condition("p0"))
        made.append(copied(base / "work", base / "a removal in the log"))
        fill(engine, scattered(8, 5), first=100)
        made.append(copied(base / "work", base / "a removal and items in the log"))
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        made.append(copied(base / "work", base / "a log that is in the database"))
    return made


def drawn(chance: random.Random, folder: Path) -> tuple[Path, int, int]:
    """A file, a byte and a bit."""
    path = folder / DATABASE_NAME
    log = log_of(path)
    length = log.stat().st_size if log.exists() else 0
    bit = chance.choice((HIGH_BIT, chance.randrange(8)))
    kind = chance.random()
    if length and chance.random() < 0.6:
        first = HEADER.size + chance.randrange((length - HEADER.size) // (FRAME.size + PAGE_BYTES)) * (
            FRAME.size + PAGE_BYTES
        )
        if kind < 0.15:
            return log, chance.randrange(HEADER.size), bit
        if kind < 0.4:
            return log, first + chance.randrange(FRAME.size), bit
        return log, first + FRAME.size + chance.randrange(HEADER_BYTES if kind < 0.6 else PAGE_BYTES), bit
    if kind < 0.25:
        return path, chance.randrange(HEADER_BYTES), bit
    return path, chance.randrange(PAGE_BYTES if kind < 0.6 else path.stat().st_size), bit


def damage(folder: Path) -> list[Problem]:
    return [one for one in check(folder, read_data=True) if not one.damage.is_harmless]


@pytest.mark.parametrize(
    "count",
    [30, pytest.param(300, marks=pytest.mark.extended), pytest.param(5_000, marks=pytest.mark.long)],
)
def test_nothing_is_lost_in_silence(states: list[Path], tmp_path: Path, count: int) -> None:
    """If a check finds nothing, all items are unchanged; otherwise, all that the repair does not report as lost."""
    chance = random.Random(count)
    truth = {state: items(copied(state, tmp_path / "instance")) for state in states}
    repaired = 0
    for _ in range(count):
        state = chance.choice(states)
        folder = copied(state, tmp_path / "instance")
        path, at, bit = drawn(chance, folder)
        where = f"{state.name}: bit {bit} of byte {at} of {path.name}"
        flip(path, at, bit)
        try:
            found = damage(folder)
        except (NewerFormat, OlderFormat):
            assert (path.name, at in FORMAT) == (DATABASE_NAME, True), where
            continue
        if not found:
            assert items(folder) == truth[state], where
            continue
        done = repair(folder)
        repaired += 1
        assert damage(folder) == done.problems == [], where
        now = items(folder)
        named = {(loss.product_id, loss.pic_name) for loss in done.lost}
        kept = {key: known for key, known in truth[state].items() if (key.product_id, key.pic_name) not in named}
        if all(loss.product_id is not None for loss in done.lost):
            assert {key: known for key, known in now.items() if key in kept} == kept, where
        assert now.keys() <= truth[state].keys(), where
    assert repaired > count / 3
