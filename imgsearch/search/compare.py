"""Comparing two pictures, without an instance; nothing is stored."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.errors import InputError
from imgsearch.locations import cache_folder
from imgsearch.pictures import as_picture
from imgsearch.search.score import Calibration, Rivals, cosines, hamming
from imgsearch.service.categories import Kind
from imgsearch.values import PictureOptions
from imgsearch.vision.limits import LIMIT_PROFILES
from imgsearch.vision.models import DEFAULT_MODEL, find_model
from imgsearch.vision.openvino_export import prepared_models
from imgsearch.vision.pipeline import Pipeline
from imgsearch.vision.runtime import Network

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from imgsearch.pictures import PictureLike
    from imgsearch.types import PictureSource

    StrPath = str | os.PathLike[str]

__all__ = ["Comparison", "compare", "compared"]

NAMES: Final = ("first", "second")


@dataclass(frozen=True, slots=True)
class Comparison:
    """How alike two pictures are."""

    score: float
    """As in the results of a search in which one of them is the query and the other all that is stored: 0 to 1."""
    distance: int
    """Hamming distance of the feature codes, 0 to 512 bits; 0 for an identical picture."""
    identical: bool
    """The same bytes, and no different region."""
    warnings: tuple[str, ...] = ()
    """What is wrong with pictures that were used all the same; each begins with ``first`` or ``second``."""


def compare(
    first: PictureLike,
    second: PictureLike,
    *,
    first_options: PictureOptions = PictureOptions(),
    second_options: PictureOptions = PictureOptions(),
    model: str = DEFAULT_MODEL,
    weights: StrPath | None = None,
    cache: StrPath | None = None,
    announce: Callable[[str], None] = lambda _message: None,
) -> Comparison:
    """Compare two pictures by their subjects, by given regions, or as a whole.

    Args:
        first: a path, bytes, a binary file, a PIL image or a uint8 array.
        second: likewise.
        first_options: Crop and Region of the first picture.
        second_options: of the second.
        model: computes the features.
        weights: a local weights file for it.
        cache: of converted models; by default the user's.
        announce: called with a line if a model must be converted first.

    Raises:
        InputError: of the first picture that cannot be used; the message begins with ``first`` or ``second``.
        InvalidModel, StorageFull, StorageUnwritable
    """
    folder = cache_folder() if cache is None else Path(cache)
    limits = LIMIT_PROFILES["local"]
    converted = prepared_models(find_model(model, None if weights is None else Path(weights)), folder, announce)
    with (
        closing(Network(converted, folder, parallel=False, announce=announce)) as network,
        Pipeline(lambda: network, limits, Kind.GENERIC, workers=2, isolated=True) as pipeline,
    ):
        pictures = [as_picture(picture, limits.max_bytes) for picture in (first, second)]
        calibration = Calibration(*converted.record.score_curve)
        return compared(pipeline, calibration, pictures, (first_options, second_options))


def compared(
    pipeline: Pipeline,
    calibration: Calibration,
    pictures: Sequence[PictureSource],
    options: tuple[PictureOptions, PictureOptions],
) -> Comparison:
    """Compare two pictures with networks that are loaded.

    Args:
        pipeline: makes their features.
        calibration: of its model's Score.
        pictures: two.
        options: Crop and Region of each.

    Raises:
        InputError: of the first picture that cannot be used; the message begins with ``first`` or ``second``.
    """
    found = []
    futures = [
        pipeline.submit_all(picture, one, all_subjects=False) for picture, one in zip(pictures, options, strict=True)
    ]
    for name, future in zip(NAMES, futures, strict=True):
        try:
            found.append(future.result()[0][0])
        except InputError as error:
            raise type(error)(f"{name}: {error.message}", code=error.code) from None
    one, other = found
    warnings = tuple(f"{name}: {view.warning}" for name, view in zip(NAMES, found, strict=True) if view.warning)
    first, second = ((each.crop, each.given_region) for each in options)
    if one.content_hash == other.content_hash and first == second:
        return Comparison(1.0, 0, identical=True, warnings=warnings)
    near = cosines(one.feature, other.feature[np.newaxis])
    score = calibration.scores(near, Rivals.of(np.zeros(1, np.int64), near))[0]
    distance = int(hamming(one.feature, other.feature[np.newaxis])[0])
    return Comparison(float(score), distance, identical=False, warnings=warnings)
