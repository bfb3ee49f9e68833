"""Records check their values when they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from imgsearch import AddPicture, Attributes, DeletePictures, FilePicture, Key, PictureOptions, Region, SearchOptions
from imgsearch.errors import (
    ImgsearchError,
    InvalidCategory,
    InvalidFilter,
    InvalidPaging,
    InvalidRegion,
    InvalidValue,
    UsageError,
)

PICTURE = FilePicture("a.jpg")
KEY = Key("p", "a.jpg")


def test_numpys_integers_are_integers() -> None:
    """They become Python's, so that whatever stores or prints them sees no difference."""
    region = Region(*np.array([1, 20, 3, 40]))
    assert region == Region(1, 20, 3, 40)
    attributes = Attributes(int_attr=np.int16(5), int_attr4=np.uint8(7))
    options = PictureOptions(np.int64(3))
    search = SearchOptions(num=np.int64(3), start=np.int32(1), min_score=np.float32(0.5))
    for value in (*region.bounds, attributes.int_attr, attributes.int_attr4, options.category_id, search.num):
        assert type(value) is int
    assert type(search.min_score) is float


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Region(5, 5, 0, 1), InvalidRegion),
        (lambda: Region(6, 5, 0, 1), InvalidRegion),
        (lambda: Region(-1, 5, 0, 1), InvalidRegion),
        (lambda: Region(0, 5.0, 0, 1), InvalidRegion),
        (lambda: Region(False, True, 0, 1), InvalidRegion),
        (lambda: Region("0", "5", "0", "1"), InvalidRegion),
        (lambda: Region(0, np.array([5, 6]), 0, 1), InvalidRegion),
        (lambda: PictureOptions("Bag"), InvalidCategory),
        (lambda: PictureOptions(True), InvalidCategory),
        (lambda: PictureOptions(crop="yes"), InvalidValue),
        (lambda: PictureOptions(region=(0, 5, 0, 5)), InvalidRegion),
        (lambda: Key(5, "a"), InvalidValue),
        (lambda: Key("p", None), InvalidValue),
        (lambda: Key("p", b"a"), InvalidValue),
        (lambda: Attributes(int_attr=5.0), InvalidValue),
        (lambda: Attributes(int_attr=np.bool_(True)), InvalidValue),
        (lambda: Attributes(int_attr=np.int64(2**31)), InvalidValue),
        (lambda: Attributes(str_attr=5), InvalidValue),
        (lambda: AddPicture("here", ("p", "a"), PICTURE), InvalidValue),
        (lambda: AddPicture("here", KEY, "a.jpg"), InvalidValue),
        (lambda: AddPicture("here", KEY, PICTURE, {"crop": True}), InvalidValue),
        (lambda: AddPicture("here", KEY, PICTURE, attributes={"int_attr": 5}), InvalidValue),
        (lambda: DeletePictures("here", ""), InvalidValue),
        (lambda: DeletePictures("here", "p", ""), InvalidValue),
        (lambda: SearchOptions(num=1.0), InvalidPaging),
        (lambda: SearchOptions(start="0"), InvalidPaging),
        (lambda: SearchOptions(filter=5), InvalidFilter),
        (lambda: SearchOptions(min_score="0.5"), UsageError),
        (lambda: SearchOptions(min_score=float("nan")), UsageError),
        (lambda: SearchOptions(lift="no"), UsageError),
    ],
)
def test_wrong_values_are_refused(make: Callable[[], Any], error: type[ImgsearchError]) -> None:
    with pytest.raises(error):
        make()
