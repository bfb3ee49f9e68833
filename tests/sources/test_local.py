"""Files and folders as a source: a dry run tells of each what adding it would, without opening it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsearch.errors import ImgsearchError
from imgsearch.sources.files import FileRequest
from imgsearch.sources.local import LocalFiles
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


def test_paths_that_stream_in_are_not_counted(shop: Path) -> None:
    """A list on stdin may have no end; files that were named are there already."""
    assert LocalFiles(iter([shop]), FileRequest()).countable is None
    assert LocalFiles([shop], FileRequest(), [shop]).countable == [shop]
