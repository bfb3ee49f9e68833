"""Files, folders and manifests as a source: a dry run tells of each what adding it would, without opening it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsearch.errors import ImgsearchError, UnreadableSource
from imgsearch.sources.files import FileRequest
from imgsearch.sources.local import LocalFiles, LocalManifest
from imgsearch.sources.port import Source
from imgsearch.types import AddPicture, Refused
from imgsearch.values import Key
from tests.pictures import write_catalogue

LIMIT = 10_000


def never(_key: Key) -> bool:
    return False


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Two small pictures, a large file, a pipe, and a link that leads nowhere."""
    folder = tmp_path / "shop"
    folder.mkdir()
    write_catalogue(folder, 2)
    (folder / "large.jpg").write_bytes(bytes(LIMIT))
    os.mkfifo(folder / "pipe.jpg")
    (folder / "gone.jpg").symlink_to("nothing")
    return folder


def test_a_dry_run_refuses_what_reading_would(shop: Path) -> None:
    """With the same code for each file."""
    source: Source = LocalFiles([shop, shop / "missing.jpg"], FileRequest())
    source.check()
    said = {operation.source: operation for operation in source.dry_run(LIMIT)}
    for operation in source.operations(never):
        other = said.pop(operation.source)
        error = operation.error if isinstance(operation, Refused) else None
        if isinstance(operation, AddPicture):
            try:
                operation.picture.read(LIMIT)
            except ImgsearchError as refusal:
                error = refusal
        if error is None:
            assert other == operation
        else:
            assert isinstance(other, Refused)
            assert (type(other.error), other.error.code) == (type(error), error.code)
    assert said == {}


def test_a_manifest_is_looked_at_before_any_work(tmp_path: Path) -> None:
    source: Source = LocalManifest(tmp_path / "increment.meta")
    with pytest.raises(UnreadableSource, match=r"increment\.meta cannot be read"):
        source.check()


def test_a_dry_run_of_a_manifest_looks_its_pictures_up(shop: Path) -> None:
    (shop / "increment.meta").write_text(
        '{"OperationType":"ADD","ProductId":"p","PicName":"large.jpg"}\n'
        '{"OperationType":"ADD","ProductId":"p","PicName":"none.jpg"}\n'
        '{"OperationType":"DELETE","ProductId":"q"}\n',
        encoding="utf-8",
    )
    source = LocalManifest(shop / "increment.meta")
    large, missing, deletion = source.dry_run(LIMIT)
    assert isinstance(large, Refused)
    assert large.error.code == "InvalidPicContent"
    assert isinstance(missing, Refused)
    assert missing.error.code == "PictureError"
    assert deletion == list(source.operations(never))[2]


def test_paths_that_stream_in_are_not_counted(shop: Path) -> None:
    """A list on stdin may have no end; files that were named are there already."""
    assert LocalFiles(iter([shop]), FileRequest()).countable is None
    assert LocalFiles([shop], FileRequest(), [shop]).countable == [shop]
