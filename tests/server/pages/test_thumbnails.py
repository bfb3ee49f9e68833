"""Thumbnails are made in memory, and so many are kept."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from imgsearch.errors import UnreadableSource
from imgsearch.instance import Instance
from imgsearch.server.pages.thumbnails import Thumbnails
from imgsearch.sources.picture_folders import PictureFolders
from imgsearch.values import Key
from tests.pictures import draw, encode


@pytest.fixture
def pictures(tmp_path: Path, instance: Instance) -> Path:
    """A folder with three pictures, which are items."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(encode(draw(number, (800, 600))))
        instance.add(folder / f"{number}.jpg", "product", category="Other")
    return folder


def test_a_thumbnail_is_small(instance: Instance, pictures: Path) -> None:
    """It tells the size of the picture itself, for drawing regions."""
    thumbnails = Thumbnails(PictureFolders([pictures]))
    made = thumbnails.get(instance, instance.item(Key("product", "0.jpg")), "small")
    assert Image.open(io.BytesIO(made.jpeg)).size == (320, 240)
    assert (made.width, made.height, made.is_changed) == (800, 600, False)


def test_the_latest_are_kept(instance: Instance, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a number of bytes; those are not decoded again."""
    items = [instance.item(Key("product", f"{number}.jpg")) for number in range(3)]
    size = max(len(Thumbnails(PictureFolders([pictures])).get(instance, item, "small").jpeg) for item in items)
    thumbnails = Thumbnails(PictureFolders([pictures]), max_bytes=2 * size)
    made: list[int] = []
    make = Instance.thumbnail

    def counted(self: Instance, picture: bytes, side: int) -> bytes:
        made.append(len(made))
        return make(self, picture, side)

    monkeypatch.setattr(Instance, "thumbnail", counted)
    for number, count in ((0, 1), (1, 2), (0, 2), (2, 3), (0, 3), (1, 4)):
        thumbnails.get(instance, items[number], "small")
        assert len(made) == count
        assert thumbnails.kept_bytes <= 2 * size


def test_a_changed_file_is_told(instance: Instance, pictures: Path) -> None:
    """As the stored region may lie elsewhere; it is the file of now that is shown."""
    thumbnails = Thumbnails(PictureFolders([pictures]))
    item = instance.item(Key("product", "0.jpg"))
    before = thumbnails.get(instance, item, "small")
    (pictures / "0.jpg").write_bytes(encode(draw(9, (400, 500))))
    after = thumbnails.get(instance, item, "small")
    assert (after.width, after.height, after.is_changed) == (400, 500, True)
    assert after.jpeg != before.jpeg


def test_what_may_not_be_shown_is_not(instance: Instance, pictures: Path) -> None:
    """Also not from memory: another folder, a file that is gone, an item without one."""
    item = instance.item(Key("product", "0.jpg"))
    with pytest.raises(UnreadableSource):
        Thumbnails(PictureFolders()).get(instance, item, "small")
    thumbnails = Thumbnails(PictureFolders([pictures]))
    thumbnails.get(instance, item, "small")
    (pictures / "0.jpg").unlink()
    with pytest.raises(UnreadableSource):
        thumbnails.get(instance, item, "small")
    instance.add(encode(draw(1)), "product", "of no file", category="Other")
    with pytest.raises(UnreadableSource, match="no local file"):
        thumbnails.get(instance, instance.item(Key("product", "of no file")), "small")
