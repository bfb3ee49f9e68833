"""Comparing two pictures, without an instance; nothing is stored."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    from collections.abc import Callable

    from imgsearch.pictures import PictureLike

    StrPath = str | os.PathLike[str]

__all__ = ["Comparison", "compare"]


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
    found = []
    with (
        closing(Network(converted, folder, parallel=False, announce=announce)) as network,
        Pipeline(lambda: network, limits, Kind.GENERIC, workers=2, isolated=True) as pipeline,
    ):
        asked = [
            ("first", as_picture(first, limits.max_bytes), first_options),
            ("second", as_picture(second, limits.max_bytes), second_options),
        ]
        futures = [
            (name, pipeline.submit_all(picture, options, all_subjects=False)) for name, picture, options in asked
        ]
        for name, future in futures:
            try:
                found.append(future.result()[0][0])
            except InputError as error:
                raise type(error)(f"{name}: {error.message}", code=error.code) from None
    one, other = found
    warnings = tuple(f"{name}: {view.warning}" for (name, *_), view in zip(asked, found, strict=True) if view.warning)
    regions = [(options.crop, options.given_region) for options in (first_options, second_options)]
    if one.content_hash == other.content_hash and regions[0] == regions[1]:
        return Comparison(1.0, 0, identical=True, warnings=warnings)
    near = cosines(one.feature, other.feature[np.newaxis])
    score = Calibration(*converted.record.score_curve).scores(near, Rivals.of(["other"], near))[0]
    distance = int(hamming(one.feature, other.feature[np.newaxis])[0])
    return Comparison(float(score), distance, identical=False, warnings=warnings)
