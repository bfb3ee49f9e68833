"""``read_export`` and its like: four files become items and refusals, or one refusal of the whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from fuzz.checks import check_error
from fuzz.files import folder, replaced
from imgsearch.errors import InvalidExport, StampMismatch
from imgsearch.service.categories import Kind
from imgsearch.transfer.file_format import (
    FEATURES_NAME,
    ITEMS_NAME,
    STAMP_NAME,
    TUNING_NAME,
    item_document,
    own_stamp,
    parse_item,
)
from imgsearch.transfer.reading import check_stamp, read_export, read_tuning
from imgsearch.types import Refused

FOLDER = folder()
BETWEEN = b"\n--next file--\n"
"""Between the files of one input."""
NAMES = (ITEMS_NAME, FEATURES_NAME, STAMP_NAME, TUNING_NAME)
DIMENSION, SHAPE_DIMENSION = 4, 2
MODEL: Any = SimpleNamespace(stamp=lambda: {"model": "m"})
MISMATCH = 6


def target(data: bytes) -> None:
    parts = data.split(BETWEEN)
    for name, part in zip(NAMES, parts, strict=False):
        replaced(FOLDER / name, part)
    for name in NAMES[len(parts) :]:
        (FOLDER / name).unlink(missing_ok=True)
    for kind in Kind:
        try:
            check_stamp(FOLDER, own_stamp(kind, MODEL))
        except InvalidExport as error:
            check_error(error)
        except StampMismatch as error:
            check_error(error, MISMATCH)
        try:
            _check(kind)
        except InvalidExport as error:
            check_error(error)


def _check(kind: Kind) -> None:
    for line in read_export(FOLDER, kind, DIMENSION):
        if isinstance(line, Refused):
            check_error(line.error)
            for text in (line.product_id, line.pic_name):
                if text is not None:
                    text.encode()
        else:
            feature = line.item.extracted.feature
            assert feature.shape == (DIMENSION,)
            assert np.isfinite(feature).all()
            again = parse_item(item_document(line.item), feature, kind)
            assert item_document(again) == item_document(line.item)
    tuning = read_tuning(FOLDER, SHAPE_DIMENSION)
    assert tuning is None or tuning.dimension == SHAPE_DIMENSION
