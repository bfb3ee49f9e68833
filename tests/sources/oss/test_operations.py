"""The operations of a manifest in a bucket: what is known to be unchanged, and how many requests that takes."""

from __future__ import annotations

import io
import json
from bisect import bisect_right

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.shards import Shard
from imgsearch.sources.oss import operations as operations_module
from imgsearch.sources.oss.address import OssAddress
from imgsearch.sources.oss.bucket import MAX_PAGE, Listed, Page
from imgsearch.sources.oss.operations import OssPicture, dry_run_operations, operations
from imgsearch.types import AddPicture, Refused
from imgsearch.values import Key


class Listing:
    """A bucket that knows its keys only; it counts the pages it is asked for."""

    address = OssAddress("abc", "f")
    listing_failure = None

    def __init__(self, names: list[str]) -> None:
        self.keys = sorted(f"f/{name}" for name in names)
        self.pages = 0

    def page(self, start_after: str = "", max_keys: int = MAX_PAGE) -> Page:
        assert 0 < max_keys <= MAX_PAGE
        self.pages += 1
        start = bisect_right(self.keys, start_after)
        found = self.keys[start : start + max_keys]
        return Page([Listed(key, f"token {key}".encode(), 10) for key in found], start + max_keys >= len(self.keys))


def manifest(names: list[str]) -> io.BytesIO:
    lines = [json.dumps({"OperationType": "ADD", "ProductId": "p", "PicName": name}) for name in names]
    return io.BytesIO("\n".join(lines).encode())


def tokens(bucket: Listing, names: list[str], stored: set[str]) -> dict[str, bytes | None]:
    found = {}
    for operation in operations(bucket, manifest(names), lambda key: key.pic_name in stored):  # type: ignore[arg-type]
        assert isinstance(operation, AddPicture)
        found[operation.key.pic_name] = operation.picture.token()
    return found


NAMES = st.lists(st.text("ab/ü𝄞", min_size=1, max_size=5).map(lambda text: f"x{text}y.j"), unique=True, max_size=60)


@pytest.mark.extended
@settings(max_examples=300, deadline=None)
@given(NAMES, NAMES, st.integers(1, 7), st.integers(1, 9), st.randoms())
def test_what_is_stored_and_listed_has_its_token(
    listed: list[str], named: list[str], page: int, block: int, chance: object
) -> None:
    """Whatever lies in the folder beside, in whatever order the lines are, and however small pages and blocks are."""
    stored = set(named[::2])
    bucket = Listing(listed + named[::3])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations_module, "MAX_PAGE", page)
        patch.setattr(operations_module, "SPARSE_PAGE", 1)
        patch.setattr(operations_module, "BLOCK_LINES", block)
        found = tokens(bucket, named, stored)
    assert list(found) == named
    for name in named:
        if name in stored:
            assert found[name] == (f"token f/{name}".encode() if f"f/{name}" in bucket.keys else None)


@pytest.mark.extended
@pytest.mark.parametrize(
    ("folder", "step", "at_most"),
    [(100_000, 1, 130), (100_000, 50, 2_000), (3_000, 1, 6), (100, 1, 1)],
    ids=["whole folder", "every fiftieth", "some pages", "one page"],
)
def test_requests_for_what_is_stored(folder: int, step: int, at_most: int) -> None:
    """One page for a thousand keys, and never more pages than keys."""
    names = [f"{number:07}.jpg" for number in range(folder)]
    bucket = Listing(names)
    named = names[::step]
    found = tokens(bucket, named, set(named))
    assert None not in found.values()
    assert bucket.pages <= at_most


@pytest.mark.extended
def test_lines_in_any_order_take_pages_for_each_block_only() -> None:
    """The worst order: each block is spread over the whole folder."""
    names = [f"{number:07}.jpg" for number in range(20_000)]
    mixed = [names[number * 7_919 % len(names)] for number in range(len(names))]
    bucket = Listing(names)
    assert None not in tokens(bucket, mixed, set(mixed)).values()
    assert bucket.pages <= 5 * 25


def test_nothing_is_asked_for_what_is_not_stored() -> None:
    """A first import lists nothing."""
    bucket = Listing(["a.jpg"])
    assert tokens(bucket, ["a.jpg"], set()) == {"a.jpg": None}
    assert bucket.pages == 0


def test_foreseeing_looks_every_object_up() -> None:
    """A missing one and one of the limit's size are refused with what a download would say."""
    bucket = Listing(["a.jpg"])
    named = ["a.jpg", "b.jpg"]
    first, second = dry_run_operations(bucket, manifest(named), 11)  # type: ignore[arg-type]
    assert isinstance(first, AddPicture)
    assert isinstance(first.picture, OssPicture)
    assert first.picture.token() == b"token f/a.jpg"
    assert isinstance(second, Refused)
    assert (second.source, second.error.code) == ("oss://abc/f/increment.meta:2", "PictureError")
    first, _ = dry_run_operations(bucket, manifest(named), 10)  # type: ignore[arg-type]
    assert isinstance(first, Refused)
    assert first.error.code == "InvalidPicContent"
    assert Key("p", "a.jpg") == Key(first.product_id or "", first.pic_name or "")


def test_a_shard_asks_for_its_own_pictures_only() -> None:
    """What is of others is neither listed nor given a token; together the shards have all."""
    names = [f"{number:04}.jpg" for number in range(3 * MAX_PAGE)]
    lines = [json.dumps({"OperationType": "ADD", "ProductId": f"p{name[0:2]}", "PicName": name}) for name in names]
    found: list[str] = []
    for index in range(2):
        bucket, shard = Listing(names), Shard(index, 2)
        given = io.BytesIO("\n".join(lines).encode())
        taken = list(operations(bucket, given, lambda _key: True, shard))  # type: ignore[arg-type]
        assert shard.others == len(names) - len(taken)
        assert all(isinstance(one, AddPicture) and one.picture.token() is not None for one in taken)
        found += [one.source for one in taken]
    assert len(set(found)) == len(found) == len(names)
