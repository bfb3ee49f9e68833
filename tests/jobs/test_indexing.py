"""Batches: what is committed together, and that the order of the operations counts whatever is."""

from __future__ import annotations

import random
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from imgsearch.jobs.indexing import COMMIT_ITEMS
from imgsearch.storage.engine import Engine
from imgsearch.types import AddPicture, DeletePictures, Status
from imgsearch.values import Key
from tests.storage.arithmetic import ArithmeticInstance, Sight

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from imgsearch.storage.sqlite.store import Store
    from imgsearch.types import Operation, Outcome


@pytest.fixture
def instance(folder: Path) -> Iterator[ArithmeticInstance]:
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as opened:
        yield opened


def add(product: str, name: str = "a.jpg", number: int = 1) -> AddPicture:
    return AddPicture(f"{product}/{name}", Key(product, name), Sight(number))


def stored(folder: Path) -> dict[tuple[str, str], bytes]:
    """What lies in the database, read without any of our code."""
    connection = sqlite3.connect(folder / "instance.db")
    rows = connection.execute("SELECT product_id, pic_name, content_hash FROM items").fetchall()
    connection.close()
    return {(product, name): content for product, name, content in rows}


@pytest.mark.extended
def test_deletions_are_committed_in_batches(
    instance: ArithmeticInstance, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As additions are, and together with them: not one transaction, with its sync, for each line of a manifest."""
    list(instance.apply(add(f"p{number}") for number in range(500)))
    commits = 0
    committing = Engine.committing

    @contextmanager
    def counted(self: Engine, products: Collection[str] | None = None) -> Iterator[Store]:
        nonlocal commits
        commits += 1
        with committing(self, products) as store:
            yield store

    monkeypatch.setattr(Engine, "committing", counted)
    monkeypatch.setattr("imgsearch.jobs.indexing.COMMIT_SECONDS", 1e9)
    lines: list[Operation] = []
    for number in range(500):
        lines += [DeletePictures(f"line {number}", f"p{number}"), add(f"new{number}")]
    outcomes = list(instance.apply(lines))
    assert [outcome.status for outcome in outcomes] == [Status.DELETED, Status.ADDED] * 500
    assert commits <= len(lines) // COMMIT_ITEMS + 2  # the rest, and the index
    assert set(stored(folder)) == {(f"new{number}", "a.jpg") for number in range(500)}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["a commit each", "large batches"])
def test_any_order_of_additions_and_deletions(
    instance: ArithmeticInstance, folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, seconds: float
) -> None:
    """As if each had been carried out by itself, also where a line takes back what the one before did."""
    monkeypatch.setattr("imgsearch.jobs.indexing.COMMIT_SECONDS", seconds)
    choose = random.Random(seed)
    held: dict[tuple[str, str], int] = {}
    expected: list[tuple[Status, str, str]] = []

    def lines() -> Iterator[Operation]:
        for _ in range(120):
            product, name = choose.choice("pqr"), choose.choice(["a.jpg", "b.jpg"])
            number = choose.randrange(2)
            match choose.randrange(4):
                case 0:
                    gone = sorted(key for key in held if key[0] == product)
                    yield DeletePictures("line", product)
                case 1:
                    gone = [(product, name)] if (product, name) in held else []
                    yield DeletePictures("line", product, name)
                case _:
                    before = held.get((product, name))
                    status = (
                        Status.ADDED if before is None else Status.UNCHANGED if before == number else Status.REPLACED
                    )
                    held[product, name] = number
                    expected.append((status, product, name))
                    yield add(product, name, number)
                    continue
            for key in gone:
                del held[key]
                expected.append((Status.DELETED, *key))

    def told(outcome: Outcome) -> tuple[Status, str | None, str | None]:
        return outcome.status, outcome.product_id, outcome.pic_name

    given = list(lines())
    assert [told(outcome) for outcome in instance.apply(given)] == expected
    assert set(stored(folder)) == set(held)
