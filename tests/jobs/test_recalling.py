"""Pictures that are stored under another key (docs/cli.md, "Keys of `add`").

Contract: no network runs for bytes that are stored with the same options; what is written is what extracting them again
would give, with the stored feature. In one run, no key is given to two pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.sources.files import FileRequest, batches
from imgsearch.types import AddPicture, Status
from imgsearch.values import Key, PictureOptions, Region
from tests.jobs.test_sync import _later, extracted, write
from tests.storage.arithmetic import ArithmeticInstance, Sight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imgsearch.types import Outcome

__all__ = ["_later", "extracted"]


@pytest.fixture
def instance(folder: Path) -> Iterator[ArithmeticInstance]:
    ArithmeticInstance.create(folder)
    with ArithmeticInstance.open(folder) as opened:
        yield opened


def add(name: str, number: int = 8, options: PictureOptions = PictureOptions()) -> AddPicture:
    return AddPicture(name, Key("p", name), Sight(number), options)


SAME = [
    (PictureOptions(), PictureOptions()),
    (PictureOptions(crop=False), PictureOptions(crop=False)),
    (PictureOptions(region=Region(1, 50, 1, 50)), PictureOptions(region=Region(1, 50, 1, 50))),
    (PictureOptions(3), PictureOptions(3)),
    (PictureOptions(), PictureOptions(22)),
    (PictureOptions(3), PictureOptions(22)),
]
OTHER = [
    (PictureOptions(3), PictureOptions()),
    (PictureOptions(), PictureOptions(crop=False)),
    (PictureOptions(region=Region(1, 50, 1, 50)), PictureOptions(region=Region(1, 60, 1, 50))),
    (PictureOptions(), PictureOptions(region=Region(1, 50, 1, 50))),
]


@pytest.mark.parametrize(("first", "second"), SAME + OTHER)
def test_the_same_is_stored_as_without_it(
    instance: ArithmeticInstance,
    tmp_path: Path,
    extracted: list[bytes],
    first: PictureOptions,
    second: PictureOptions,
) -> None:
    """Recalled or extracted: the item under the second name is the one that an empty instance would get."""
    instance.apply([add("a.jpg", options=first)])
    extracted.clear()
    (outcome,) = instance.apply([add("b.jpg", options=second)])
    assert len(extracted) == ((first, second) in OTHER)
    ArithmeticInstance.create(tmp_path / "other")
    with ArithmeticInstance.open(tmp_path / "other") as other:
        (expected,) = other.apply([add("b.jpg", options=second)])
        assert outcome == expected
        one, two = (home.item(Key("p", "b.jpg")) for home in (instance, other))
        for name in (
            "category_id",
            "category_given",
            "region",
            "region_mode",
            "subjects",
            "content_hash",
            "picture_hash",
            "token",
        ):
            assert getattr(one, name) == getattr(two, name), name
        features = []
        for home, item in ((instance, one), (other, two)):
            with home._opened.reading() as engine:
                features.append(engine.store.feature(item.id))
        assert np.array_equal(*features)


def run(instance: ArithmeticInstance, *paths: Path, request: FileRequest | None = None) -> list[Outcome]:
    return instance_run(instance, list(paths), request or FileRequest())


def instance_run(instance: ArithmeticInstance, paths: list[Path], request: FileRequest) -> list[Outcome]:
    return list(instance.apply_stream(batches(paths, request), distinct=True))


@pytest.mark.parametrize("again", [False, True])
def test_a_key_is_not_given_twice_in_a_run(instance: ArithmeticInstance, tmp_path: Path, again: bool) -> None:
    """The second picture is refused, and both are named; also when the first one is unchanged."""
    write(tmp_path / "red" / "front.jpg", 1)
    write(tmp_path / "blue" / "front.jpg", 2)
    roots = (tmp_path / "red", tmp_path / "blue")
    if again:
        run(instance, *roots)
    first, second = run(instance, *roots)
    assert (first.status, second.status) == (Status.UNCHANGED if again else Status.ADDED, Status.FAILED)
    assert second.error is not None
    assert second.error.code == "DuplicateKey"
    assert str(tmp_path / "red" / "front.jpg") in second.error.message
    assert second.source == str(tmp_path / "blue" / "front.jpg")
    assert "--product-from parent" in second.error.message
    assert instance.item(Key("front", "front.jpg")).location == tmp_path / "red" / "front.jpg"
    outcomes = run(instance, *roots, request=FileRequest(product_from="parent"))
    assert [one.status for one in outcomes] == [Status.ADDED, Status.ADDED]


def test_one_file_may_be_given_twice(instance: ArithmeticInstance, tmp_path: Path) -> None:
    """And a copy under the same key is no other picture; its place is that of the first one."""
    write(tmp_path / "red" / "front.jpg", 1)
    write(tmp_path / "blue" / "front.jpg", 1)
    statuses = [one.status for one in run(instance, tmp_path / "red", tmp_path / "red", tmp_path / "blue")]
    assert statuses == [Status.ADDED, Status.UNCHANGED, Status.UNCHANGED]
    assert instance.item(Key("front", "front.jpg")).location == tmp_path / "red" / "front.jpg"


def test_an_item_with_a_decomposed_name_is_found_and_renewed(
    instance: ArithmeticInstance,
    tmp_path: Path,
    extracted: list[bytes],
) -> None:
    """As older releases stored it: either spelling finds it, and adding its file gives it the composed name."""
    composed, decomposed = "cr\u00e8me", "cre\u0300me"
    old = AddPicture("old", Key(decomposed, f"{decomposed}.jpg"), Sight(1))
    instance.apply([old])
    assert instance.item(Key(composed, f"{composed}.jpg")).key == old.key
    assert len(instance.delete(composed, dry_run=True).keys) == 1
    extracted.clear()
    path = tmp_path / "pictures" / f"{decomposed}.jpg"
    path.parent.mkdir()
    path.write_bytes(Sight(1).read(1000).data)
    (outcome,) = run(instance, path.parent)
    assert (outcome.status, outcome.product_id) == (Status.REPLACED, composed)
    assert extracted == []
    assert [item.key.product_id for item in instance.items()] == [composed]
    assert instance.item(old.key).location == path
    assert len(instance.delete(decomposed).keys) == 1
