"""Instances whose pictures are numbers with small random features: no network, and little to compute.

The gateway, its jobs, locks, SQLite, FAISS and files are the real ones; only what a picture looks like is given.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from imgsearch.errors import InputError
from imgsearch.jobs.creation import make
from imgsearch.service.categories import Kind
from imgsearch.types import Extracted, PictureSource
from imgsearch.values import PictureOptions, Region
from imgsearch.vision.limits import LIMIT_PROFILES
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS
from tests.storage.arithmetic import ArithmeticInstance, ArithmeticOpened, ArithmeticPipeline
from tests.storage.builders import Features, scattered, stored

__all__ = ["DIMENSION", "RECORD", "SIGHTS", "GivenInstance", "create", "feature_of"]

DIMENSION: Final = 16
SIGHTS: Final = 64
"""How many different pictures there are: few, so that the same one often stands under several keys."""
RECORD: Final = replace(EMBEDDED_MODELS[DEFAULT_MODEL], dimension=DIMENSION)
_FEATURES: Final = stored(
    scattered(8, 1, DIMENSION).repeat(8, axis=0)
    + 0.9 * np.random.default_rng(2).standard_normal((SIGHTS, DIMENSION)) / DIMENSION**0.5
)


def feature_of(number: int, region: Region) -> Features:
    """The feature of a region of a picture, as it comes back from the store."""
    feature: Features = _FEATURES[(number + region.x1) % SIGHTS]
    return feature


class _Pipeline(ArithmeticPipeline):
    feature_of = staticmethod(feature_of)

    def submit_all(
        self, picture: PictureSource, options: PictureOptions, *, all_subjects: bool
    ) -> Future[tuple[list[Extracted], float]]:
        """In this thread."""
        future: Future[tuple[list[Extracted], float]] = Future()
        try:
            future.set_result(self._extract_timed(picture, options, all_subjects))
        except InputError as error:
            future.set_exception(error)
        return future


class _Opened(ArithmeticOpened):
    pipeline_type = _Pipeline


class GivenInstance(ArithmeticInstance):
    """An instance that looks at no pixel."""

    opened_type = _Opened


def create(folder: Path) -> None:
    """An empty product instance."""
    make(folder, Kind.PRODUCT, LIMIT_PROFILES["local"], None, RECORD)
