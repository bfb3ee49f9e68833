"""A catalogue twice: in one instance, and in shards of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from imgsearch.instance import Instance
from imgsearch.sharding.instance import ShardedInstance
from imgsearch.sharding.opened import ShardedOpened
from imgsearch.shards import shard_of
from imgsearch.types import Upsert
from imgsearch.values import Attributes
from imgsearch.vision.picture_hash import HASH_BYTES
from tests.storage.arithmetic import DIMENSION, ArithmeticInstance, ArithmeticOpened
from tests.storage.builders import change, of_products

SHARDS = 3
PRODUCTS = 260
CATEGORIES = (0, 3, 22)


class ArithmeticMerged(ShardedOpened, ArithmeticOpened):
    """Several shards that look at no pixel."""


class ArithmeticShards(ShardedInstance):
    """Instances that look at no pixel, as one."""

    opened_type = ArithmeticOpened
    merged_type = ArithmeticMerged


@dataclass(frozen=True)
class Twice:
    """One catalogue in two forms."""

    whole: ArithmeticInstance
    """Its items were added shard by shard, so that equal ones are in the same order."""
    shards: ArithmeticShards


def catalogue() -> list[Upsert]:
    """Products of one to nine pictures that look alike, in three categories; some pictures are the same in several."""
    generator = np.random.default_rng(7)
    features = of_products(PRODUCTS, 9, view=0.6, seed=3)
    assert features.shape[1] == DIMENSION
    items = []
    for product in range(PRODUCTS):
        for picture in range(int(generator.integers(1, 10))):
            number = 9 * product + picture
            copied = number % 17 == 0
            content = b"copy" if copied else b"picture %d" % number
            items.append(
                change(
                    f"p{product}",
                    f"{picture}.jpg",
                    features[0 if copied else number],
                    content=content,
                    category=CATEGORIES[product % 3 if number % 5 else (product + 1) % 3],
                    attributes=Attributes(int_attr=number % 10, str_attr="red" if number % 7 == 0 else None),
                    picture_hash=hashlib.blake2b(content, digest_size=HASH_BYTES).digest(),
                )
            )
    return items


def write(instance: Instance, items: list[Upsert]) -> None:
    with instance._opened.writing(0) as engine, engine.committing() as store:
        store.insert(items)


def make(folder: Path, items: list[Upsert], shards: int, *, indexed: bool) -> None:
    """One instance, and shards beside it; with an index of a part of the items, in all but the last shard."""
    parts: list[list[Upsert]] = [[] for _ in range(shards)]
    for item in items:
        parts[shard_of(item.key.product_id, shards)].append(item)
    ArithmeticInstance.create(folder / "whole")
    with ArithmeticInstance.open(folder / "whole") as whole:
        for index, part in enumerate(parts):
            ArithmeticInstance.create(folder / str(index))
            with ArithmeticInstance.open(folder / str(index)) as shard:
                write(whole, part)
                write(shard, part[: len(part) // 2])
                if indexed and index < shards - 1:
                    shard.rebuild()
                write(shard, part[len(part) // 2 :])
        if indexed:
            whole.rebuild()


def removed(instance: Instance) -> None:
    """Some items go after the index was made."""
    for product in range(0, PRODUCTS, 11):
        instance.delete(f"p{product}", "0.jpg")


@pytest.fixture(scope="package", params=[False, True], ids=["scanned", "indexed"])
def twice(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Twice]:
    """A catalogue in one instance and in three shards, not to be changed."""
    folder = tmp_path_factory.mktemp("twice")
    make(folder, catalogue(), SHARDS, indexed=request.param)
    with (
        ArithmeticInstance.open(folder / "whole") as whole,
        ArithmeticShards.open_shards([folder / str(index) for index in range(SHARDS)]) as shards,
    ):
        removed(whole)
        removed(shards)
        yield Twice(whole, shards)
