"""Which product is of which shard (docs/sharding.md).

Contract: the hash is the same everywhere and for ever; every operation is of exactly one shard, and order is kept.
"""

from __future__ import annotations

import numpy as np
import pytest

from imgsearch import Shard, shard_of
from imgsearch.errors import InvalidManifest, UsageError
from imgsearch.types import AddPicture, DeletePictures, Operation, Refused
from imgsearch.values import Key
from tests.storage.arithmetic import Sight


@pytest.mark.parametrize(
    ("product_id", "of_2", "of_8", "of_1000"),
    [("mug-red", 0, 2, 691), ("p1", 1, 2, 474), ("Größe 42", 0, 0, 628), ("商品-7", 1, 5, 516)],
)
def test_the_hash_never_changes(product_id: str, of_2: int, of_8: int, of_1000: int) -> None:
    """Instances made with one release are served with another one."""
    assert [shard_of(product_id, count) for count in (1, 2, 8, 1000)] == [0, of_2, of_8, of_1000]


def test_both_spellings_of_a_name_are_of_one_shard() -> None:
    assert shard_of("Gro\u0308\u00dfe 42", 1000) == shard_of("Größe 42", 1000)


def test_a_name_that_no_product_can_have_is_of_a_shard_too() -> None:
    """So that what is wrong with it is told once."""
    assert sum(Shard(index, 8).owns("\udcff") for index in range(8)) == 1


def test_products_are_spread_evenly() -> None:
    shares = np.bincount([shard_of(f"product {number}", 8) for number in range(8_000)])
    assert shares.min() > 850
    assert shares.max() < 1150


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not I/N"),
        ("1", "not I/N"),
        ("1/2/3", "not I/N"),
        ("-1/2", "not I/N"),
        ("a/b", "not I/N"),
        ("1.0/2", "not I/N"),
        ("٣/8", "not I/N"),
        ("8/8", "counted from 0, so this must be 0 to 7"),
        ("0/0", "1 to 65,536"),
        ("0/65537", "1 to 65,536"),
        ("0/9999999999", "not I/N"),
    ],
)
def test_what_is_no_shard_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Shard.parse(text)


def test_what_is_a_shard() -> None:
    shard = Shard.parse(" 3/8 ")
    assert (shard.index, shard.count, repr(shard)) == (3, 8, "Shard(3, 8)")
    with pytest.raises(UsageError):
        Shard(True, 2)


def operations() -> list[Operation]:
    """Of six products, two of each; and what is about none."""
    made: list[Operation] = []
    for number in range(12):
        product = f"p{number % 6}"
        made.append(AddPicture(f"line {number}", Key(product, f"{number}.jpg"), Sight(number)))
        made.append(DeletePictures(f"delete {number}", product))
        made.append(Refused(f"refused {number}", InvalidManifest("no"), product))
    return [*made, Refused("broken", InvalidManifest("no JSON"))]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_shards_make_up_the_whole(count: int) -> None:
    """Each operation is of one shard, in the old order; what is about no product is told by the first."""
    given = operations()
    shards = [Shard(index, count) for index in range(count)]
    taken = [list(shard.of(given)) for shard in shards]
    assert sorted(one.source for some in taken for one in some) == sorted(one.source for one in given)
    for shard, some in zip(shards, taken, strict=True):
        assert some == [one for one in given if one in some]
        assert shard.others == len(given) - len(some)
    assert taken[0][-1].source == "broken"
    places = {one.product_id: index for index, some in enumerate(taken) for one in some if isinstance(one, Refused)}
    for index, some in enumerate(taken):
        assert all(places[one.key.product_id] == index for one in some if isinstance(one, AddPicture))
