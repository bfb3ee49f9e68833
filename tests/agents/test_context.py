"""Pictures that an agent sends, and options that would be ignored."""

from __future__ import annotations

import base64
import tracemalloc

import pytest

from imgsearch.agents.context import given_picture, picture_options
from imgsearch.errors import InvalidValue, PictureTooLarge, UsageError
from imgsearch.sources.picture_folders import PictureFolders

NOWHERE = PictureFolders([])
LIMIT = 1_000_000


def decoded(data: str) -> object:
    return given_picture(NOWHERE, None, data, LIMIT)


def test_bytes_in_base64() -> None:
    """Plain, in lines, as a URL with any media type."""
    content = bytes(range(256)) * 100
    text = base64.b64encode(content).decode()
    lines = base64.encodebytes(content).decode()
    for data in (text, lines, lines.replace("\n", "\r\n"), f"data:image/png;base64,{text}", f"DATA:;BASE64,{text}"):
        assert decoded(data) == content


@pytest.mark.parametrize(
    "data", ["%%%", "abc", "data:image/png,abcd", "data:image/png;base64", "http://example.com/a.jpg", "grün", "\ud800"]
)
def test_what_is_not_base64_is_refused(data: str) -> None:
    with pytest.raises(InvalidValue, match="base64") as refused:
        decoded(data)
    assert refused.value.code == "InvalidPicContent"


def test_no_bytes_are_the_decoder_s_to_refuse() -> None:
    assert decoded("") == b""


def test_too_many_bytes_are_refused_before_they_are_decoded() -> None:
    """By the length of the text; a picture right at the limit counts by its bytes."""
    assert decoded(base64.b64encode(bytes(LIMIT - 1)).decode()) == bytes(LIMIT - 1)
    with pytest.raises(PictureTooLarge):
        decoded(base64.b64encode(bytes(LIMIT)).decode())
    data = "A" * (40 * LIMIT)
    tracemalloc.start()
    try:
        with pytest.raises(PictureTooLarge):
            decoded(data)
        assert tracemalloc.get_traced_memory()[1] < LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("path", "data"), [(None, None), ("a.jpg", "AAAA")])
def test_exactly_one_way_to_give_a_picture(path: str | None, data: str | None) -> None:
    with pytest.raises(UsageError, match="either"):
        given_picture(NOWHERE, path, data, LIMIT)


def test_a_region_that_would_be_ignored_is_refused() -> None:
    with pytest.raises(UsageError, match="ignored"):
        picture_options(None, "0,1,0,1", crop=False)
    options = picture_options("bag", "0,1,0,1", crop=True)
    assert (options.category_id, str(options.region)) == (3, "0,1,0,1")
