"""``read_manifest``: bytes become operations that stay within their folder, and refusals, at most one a line."""

from __future__ import annotations

import io
from pathlib import Path

import atheris

from fuzz.target import check_error, run

with atheris.instrument_imports(
    include=["imgsearch.sources.manifest", "imgsearch.types", "imgsearch.service.categories"]
):
    from imgsearch.sources.manifest import read_manifest

from imgsearch.cli.output import safe
from imgsearch.sources.files import FilePicture
from imgsearch.types import AddPicture, DeletePictures, PictureSource, Refused
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
        match operation:
            case Refused():
                check_error(operation.error)
                for text in (operation.product_id, operation.pic_name):
                    if text is not None:
                        text.encode()
            case AddPicture(key=key):
                key.product_id.encode()
                key.pic_name.encode()
            case DeletePictures(product_id=product_id):
                product_id.encode()
        assert safe(operation.source).isprintable()


if __name__ == "__main__":
    run(target)
