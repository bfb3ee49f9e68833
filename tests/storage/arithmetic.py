"""Instances without a network: what a picture shows is a number in its bytes, and its feature is arithmetic.

All else is the real thing: the gateway, its batches and its locks, SQLite, FAISS, the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from imgsearch.errors import DamagedPicture, InputError
from imgsearch.instance import Instance
from imgsearch.opened import Opened
from imgsearch.storage.port import Storage
from imgsearch.types import Content, Extracted, PictureSource, Recalled
from imgsearch.values import PictureOptions, Region, RegionMode
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS
from imgsearch.vision.picture_hash import HASH_BYTES
from imgsearch.vision.pipeline import Pipeline
from tests.storage.builders import Features, scattered, stored

DIMENSION: Final = EMBEDDED_MODELS[DEFAULT_MODEL].dimension
WHOLE: Final = Region(0, 100, 0, 80)
SUBJECT: Final = Region(10, 60, 5, 50)
_SIGHTS: Final = stored(
    scattered(4, 1, DIMENSION).repeat(4, axis=0) + 0.8 * scattered(16, 2, DIMENSION)  # four groups of likenesses
)


@dataclass(frozen=True)
class Sight:
    """The bytes of a picture that shows one of 16 things; a negative number cannot be decoded."""

    number: int
    has_token: bool = False

    @property
    def data(self) -> bytes:
        return b"picture %d" % self.number

    def token(self) -> bytes | None:
        return b"token %d" % self.number if self.has_token else None

    def read(self, max_bytes: int) -> Content:
        return Content(self.data, self.token())


def region_of(options: PictureOptions) -> Region:
    """The region that is used."""
    return {RegionMode.WHOLE: WHOLE, RegionMode.SUBJECT: SUBJECT}.get(options.region_mode) or options.region or WHOLE


def feature_of(number: int, region: Region) -> Features:
    """The feature of a region of a picture, as it comes back from the store; equal ones are common."""
    feature: Features = _SIGHTS[(number + region.x1) % len(_SIGHTS)]
    return feature


def chances_of(number: int) -> tuple[tuple[int, float], ...]:
    """The predicted categories; of every fourth picture, two are likely."""
    first, second = ((0, 3, 22)[(number + place) % 3] for place in range(2))
    return ((first, 0.6), (second, 0.385), (7, 0.015)) if number % 4 == 0 else ((first, 0.99), (second, 0.01))


class ArithmeticPipeline(Pipeline):
    """The way of a picture, without threads: the same operations are always the same steps."""

    feature_of: Callable[[int, Region], Features] = staticmethod(feature_of)
    """The feature of a region of a picture."""

    def submit(
        self, picture: PictureSource, options: PictureOptions, is_known: Callable[[bytes], Recalled | bool]
    ) -> Future[Extracted | Recalled | Content]:
        future: Future[Extracted | Recalled | Content] = Future()
        try:
            future.set_result(self._extract_unknown(partial(self._read, picture), options, is_known))
        except InputError as error:
            future.set_exception(error)
        return future

    def _extract_each(
        self, content: Content, digest: bytes, options: PictureOptions, *, hashed: bool = False
    ) -> Iterator[Extracted]:
        number = int(content.data.split()[1])
        if number < 0:
            raise DamagedPicture("it is broken")
        region = region_of(options)
        chances = chances_of(number) if options.category_id is None else ()
        yield Extracted(
            content_hash=digest,
            token=content.token,
            region=region,
            subjects=(region,) if options.region_mode is RegionMode.SUBJECT else (),
            category_id=chances[0][0] if options.category_id is None else options.category_id,
            chances=chances,
            feature=self.feature_of(number, region),
            picture_hash=hashlib.blake2b(content.data, digest_size=HASH_BYTES).digest() if hashed else None,
        )


class ArithmeticOpened(Opened):
    """What a product instance that looks at no pixel is made of."""

    at_work: Callable[[], object] = staticmethod(lambda: None)
    """Called whenever a change has taken the lock and opened the database."""
    pipeline_type: type[ArithmeticPipeline] = ArithmeticPipeline

    @contextmanager
    def writing(self, lock_timeout: float, *, alone: bool = False) -> Iterator[Storage]:
        with super().writing(lock_timeout, alone=alone) as engine:
            self.at_work()
            yield engine

    @contextmanager
    def pipeline(
        self, *, workers: int | None = None, readers: int = 0, isolated: bool = True, device: str = "cpu"
    ) -> Iterator[Pipeline]:
        def network() -> None:
            raise AssertionError("a network was asked for")

        with self.pipeline_type(network, self.limits, self.kind) as pipeline:  # type: ignore[arg-type]
            yield pipeline


class ArithmeticInstance(Instance):
    """A product instance that looks at no pixel."""

    opened_type = ArithmeticOpened
