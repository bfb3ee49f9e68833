"""``read_manifest``: bytes become operations that stay within their folder, and refusals, at most one a line."""

from __future__ import annotations

import io
from pathlib import Path

from fuzz.checks import check_operation
from imgsearch.sources.files import FilePicture
from imgsearch.sources.manifest import read_manifest
from imgsearch.types import PictureSource
from imgsearch.values import Location

FOLDER = Path("/srv/catalogue")


def locate(name: str) -> tuple[PictureSource, Location | None]:
    path = FOLDER / name
    assert path.is_relative_to(FOLDER)
    assert ".." not in path.parts
    return FilePicture(path), Location(str(FOLDER))


def target(data: bytes) -> None:
    operations = list(read_manifest(io.BytesIO(data), "m", locate))
    assert len(operations) <= data.count(b"\n") + 1
    for operation in operations:
        check_operation(operation)
