"""``read_paths`` and ``read_lines``: bytes become names of bounded length, or the list is refused."""

from __future__ import annotations

import io
import os

from fuzz.checks import check_error
from imgsearch.errors import InvalidManifest, PictureTooLarge
from imgsearch.sources.stdin import MAX_PATH_BYTES, StreamPicture, read_lines, read_paths

MAX_BYTES = 100


def target(data: bytes) -> None:
    for nul in (False, True):
        try:
            paths = list(read_paths(io.BytesIO(data), nul=nul))
            lines = list(read_lines(io.BytesIO(data), nul=nul))
        except InvalidManifest as error:
            check_error(error)
            continue
        assert len(paths) == len(lines)
        assert all(len(os.fsencode(path)) <= MAX_PATH_BYTES for path in paths)
        separator = "\0" if nul else "\n"
        assert not any(separator in line or not line for line in lines)
    picture = StreamPicture(io.BytesIO(data))
    assert picture.token() is None
    try:
        assert picture.read(MAX_BYTES).data == data
    except PictureTooLarge as error:
        check_error(error)
        assert len(data) >= MAX_BYTES
