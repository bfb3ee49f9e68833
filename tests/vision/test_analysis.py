"""Looking at pictures without storing anything: in order, side by side, with a bound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from imgsearch import AddPicture, FilePicture, Instance, Key, Kind, PictureOptions, Region
from imgsearch.errors import InputError, InvalidModel, StampMismatch, UnreadableSource
from imgsearch.opened import Opened
from imgsearch.types import Content, Extracted
from imgsearch.vision.pipeline import LOOK_AHEAD_PER_WORKER
from tests.pictures import jpeg, write_catalogue

pytestmark = pytest.mark.networks


class Bytes:
    """A picture in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def token(self) -> None:
        return None

    def read(self, max_bytes: int) -> Content:
        return Content(self.data)


def test_each_result_stands_where_its_picture_stood(instance: Instance, tmp_path: Path) -> None:
    """Order is kept, a broken picture is an error in its place, and the options of each picture count."""
    region = Region(0, 100, 0, 100)
    given = [
        (Bytes(jpeg(1)), PictureOptions(category_id=3)),
        (Bytes(b"no picture"), PictureOptions()),
        (FilePicture(tmp_path / "missing.jpg"), PictureOptions()),
        (Bytes(jpeg(2)), PictureOptions(region=region)),
        (Bytes(jpeg(2)), PictureOptions(region=Region(0, 999, 0, 100))),
    ]
    found = list(instance.analyse(given, workers=3))
    kinds = [type(one) if isinstance(one, Extracted) else one.code for one in found]
    assert kinds == [Extracted, "UnsupportedPicFormat", "PictureError", Extracted, "InvalidRegion"]
    first, fourth = found[0], found[3]
    assert isinstance(first, Extracted)
    assert isinstance(fourth, Extracted)
    assert first.category_id == 3
    assert fourth.region == region


@pytest.mark.extended
def test_what_is_found_is_what_is_added(instance: Instance, tmp_path: Path) -> None:
    """Region, category and feature are those of ``apply``; nothing is stored by looking."""
    (path,) = write_catalogue(tmp_path, 1)
    (found,) = instance.analyse([(FilePicture(path), PictureOptions())])
    assert instance.info().items == 0
    list(instance.apply([AddPicture("one", Key("p", "n.jpg"), FilePicture(path))]))
    item = instance.item(Key("p", "n.jpg"))
    assert isinstance(found, Extracted)
    assert (found.content_hash, found.region, found.category_id) == (item.content_hash, item.region, item.category_id)
    (again,) = instance.analyse([(FilePicture(path), PictureOptions())])
    assert isinstance(again, Extracted)
    np.testing.assert_allclose(found.feature, again.feature, atol=1e-3)


@pytest.mark.extended
def test_pictures_are_read_no_further_ahead_than_needed(instance: Instance) -> None:
    """However many there are, only so many are under way."""
    taken = 0

    def pictures() -> Iterator[tuple[Bytes, PictureOptions]]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield Bytes(jpeg(number % 3)), PictureOptions()

    results = instance.analyse(pictures(), workers=2)
    for number, _ in enumerate(results, 1):
        assert taken <= number + LOOK_AHEAD_PER_WORKER * 2 + 1
    assert taken == 100


def test_a_model_that_fails_ends_the_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no picture's fault, so it is not told of each picture."""
    Instance.create(folder)
    with Instance.open(folder) as instance:
        monkeypatch.setattr(Opened, "convert", fail)
        with pytest.raises(InvalidModel, match="planted"):
            list(instance.analyse([(Bytes(jpeg(1)), PictureOptions())]))


def fail(*_: object) -> None:
    raise InvalidModel("planted")


def test_dimensions_are_those_of_the_upright_picture(instance: Instance, tmp_path: Path) -> None:
    """Turned by its EXIF flag; what cannot be read is told."""
    from PIL import Image

    from tests.pictures import draw, encode

    exif = Image.Exif()
    exif[0x0112] = 6
    assert instance.dimensions(Bytes(encode(draw(3, (200, 120)), exif=exif))) == (120, 200)
    with pytest.raises(UnreadableSource):
        instance.dimensions(FilePicture(tmp_path / "missing.jpg"))
    with pytest.raises(InputError):
        instance.dimensions(Bytes(b""))


def test_an_instance_alike(folder: Path, tmp_path: Path) -> None:
    """Kind, model, limits and OSS region are the same; the pictures are not taken along."""
    from imgsearch.vision.limits import Limits

    Instance.create(folder, Kind.GENERIC, limits=Limits(min_side=20), region_id="cn-x")
    with Instance.open(folder) as instance:
        list(instance.apply([AddPicture("one", Key("p", "n.jpg"), Bytes(jpeg(1)))]))
        instance.create_alike(tmp_path / "alike")
        with Instance.open(tmp_path / "alike") as alike:
            one, other = instance.info(), alike.info()
    assert (one.kind, one.stamp, one.limits, one.region_id) == (other.kind, other.stamp, other.limits, other.region_id)
    assert (one.items, other.items) == (1, 0)


def test_nothing_is_made_alike_with_a_model_of_another_version(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the instance at hand."""
    monkeypatch.setattr("imgsearch.vision.models.FEATURE_VERSION", 999)
    with pytest.raises(StampMismatch, match=str(instance.folder)):
        instance.create_alike(tmp_path / "alike")
    assert not (tmp_path / "alike").exists()
