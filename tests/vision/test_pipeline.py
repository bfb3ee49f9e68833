"""The one way of a picture, for indexing and searching alike: read, recognise, check, decode, extract.

Contract: a picture whose bytes are known is neither decoded nor extracted; each failure is that picture's own and
travels through its future; the category is the caller's in a product instance and 88888888 in a generic one.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import CancelledError
from dataclasses import replace
from threading import Event, Thread
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from imgsearch.errors import (
    DamagedPicture,
    EmptyPicture,
    InputError,
    InvalidRegion,
    PictureTooLarge,
    UnreadableSource,
    UnsupportedPicFormat,
    UnsupportedPicPixels,
)
from imgsearch.service.categories import CATEGORIES, OTHER, Kind
from imgsearch.sources.files import FilePicture
from imgsearch.types import Content, Extracted
from imgsearch.values import PictureOptions, Region
from imgsearch.vision.limits import Limits
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS, find_model
from imgsearch.vision.openvino_export import converted_model
from imgsearch.vision.picture import OpenPicture
from imgsearch.vision.pipeline import Pipeline, content_hash
from imgsearch.vision.runtime import Network
from imgsearch.vision.subject_boxes import with_context
from tests.pictures import draw, encode, jpeg

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imgsearch.vision.openvino_export import ConvertedModel

pytestmark = pytest.mark.networks


@pytest.fixture(scope="module")
def network(tiny: ConvertedModel, cache: Path) -> Network:
    return Network(tiny, cache, parallel=False)


@pytest.fixture
def pipeline(network: Network) -> Iterator[Pipeline]:
    with Pipeline(lambda: network, Limits(), Kind.PRODUCT, workers=2) as pipeline:
        yield pipeline


def no_network() -> Network:
    raise AssertionError("the network was loaded")


@pytest.fixture
def idle() -> Iterator[Pipeline]:
    """A pipeline that must not need its network."""
    with Pipeline(no_network, Limits(), Kind.PRODUCT) as pipeline:
        yield pipeline


def unknown(_content_hash: bytes) -> bool:
    return False


def write(path: Path, data: bytes) -> FilePicture:
    path.write_bytes(data)
    return FilePicture(path)


# Known pictures


def test_the_content_hash_is_that_of_the_bytes() -> None:
    """BLAKE2b-128, stored in instances: it cannot change."""
    assert content_hash(b"abc").hex() == "cf4ab791c62b8d2b2109c90275287816"
    data = jpeg(1)
    assert content_hash(data) == hashlib.blake2b(data, digest_size=16).digest()
    assert content_hash(data) != content_hash(data + b"\0")


def test_a_known_picture_is_read_and_nothing_else(idle: Pipeline, tmp_path: Path) -> None:
    """Not even looked at: these bytes are no picture, and the region is nonsense."""
    source = write(tmp_path / "a.jpg", b"known bytes")
    asked: list[bytes] = []

    def is_known(found: bytes) -> bool:
        asked.append(found)
        return True

    future = idle.submit(source, PictureOptions(region=Region(0, 9999, 0, 9999)), is_known)
    assert future.result() == Content(b"", source.read(1000).token)
    assert asked == [content_hash(b"known bytes")]


@pytest.mark.extended
def test_the_token_of_the_read_version_comes_back(pipeline: Pipeline) -> None:
    class Versioned:
        """A source with versions, such as an object store."""

        def token(self) -> bytes:
            return b"newer"

        def read(self, max_bytes: int) -> Content:
            return Content(jpeg(1), b"version 7")

    assert pipeline.submit(Versioned(), PictureOptions(), lambda _hash: True).result().token == b"version 7"
    assert pipeline.submit(Versioned(), PictureOptions(), unknown).result().token == b"version 7"


# Extraction


def test_what_is_kept_of_a_picture(pipeline: Pipeline, network: Network, tmp_path: Path) -> None:
    data, region = jpeg(3, (300, 200)), Region(20, 200, 10, 150)
    extracted = pipeline.submit(write(tmp_path / "a.jpg", data), PictureOptions(region=region), unknown).result()
    assert isinstance(extracted, Extracted)
    assert extracted.content_hash == content_hash(data)
    assert extracted.region == region
    assert extracted.category_id in CATEGORIES
    seen = with_context(region, 300, 200)
    pixels = OpenPicture(data, Limits()).decode(seen, network.input_size)
    assert np.array_equal(extracted.feature, network.embed(pixels)[0])
    assert extracted.feature.dtype == np.float32


@pytest.mark.parametrize("options", [PictureOptions(), PictureOptions(crop=False, region=Region(0, 9, 0, 9))], ids=str)
def test_without_a_region_that_counts_the_region_lies_within_the_picture(
    pipeline: Pipeline, options: PictureOptions
) -> None:
    region = pipeline.extract(Content(jpeg(3, (300, 200))), options).region
    assert 0 <= region.x1 < region.x2 <= 300
    assert 0 <= region.y1 < region.y2 <= 200
    if not options.crop:
        assert region == Region(0, 300, 0, 200), "Crop false is the whole picture, whatever Region says"


@pytest.mark.extended
def test_many_at_once_give_what_each_gives_alone(pipeline: Pipeline, tmp_path: Path) -> None:
    sources = [write(tmp_path / f"{number}.jpg", jpeg(number)) for number in range(12)]
    futures = [pipeline.submit(source, PictureOptions(), unknown) for source in sources]
    for number, future in enumerate(futures):
        alone = pipeline.extract(Content(jpeg(number)), PictureOptions())
        assert np.array_equal(future.result().feature, alone.feature)
        assert future.result().content_hash == alone.content_hash


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (Kind.PRODUCT, 3, {3}),
        (Kind.PRODUCT, 0, {0}),
        (Kind.PRODUCT, OTHER, {OTHER}),
        (Kind.PRODUCT, None, set(CATEGORIES)),
        (Kind.GENERIC, 3, {OTHER}),
        (Kind.GENERIC, 0, {OTHER}),
        (Kind.GENERIC, None, {OTHER}),
    ],
)
def test_categories(network: Network, kind: Kind, given: int | None, expected: set[int]) -> None:
    """Product: a given one wins, category 0 included. Generic: 88888888, whatever was given."""
    with Pipeline(lambda: network, Limits(), kind) as pipeline:
        extracted = pipeline.extract(Content(jpeg(1)), PictureOptions(category_id=given))
    assert extracted.category_id in expected
    assert bool(extracted.chances) == (kind is Kind.PRODUCT and given is None), "predicted only where it is asked for"
    if extracted.chances:
        ids, chances = zip(*extracted.chances, strict=True)
        assert set(ids) == set(CATEGORIES)
        assert sum(chances) == pytest.approx(1)
        assert list(chances) == sorted(chances, reverse=True)
        assert extracted.category_id == ids[0]


# Subjects


def two_things() -> bytes:
    """A large red disc on the left and a smaller blue one on the right, on white."""
    image = Image.new("RGB", (600, 300), "white")
    pencil = ImageDraw.Draw(image)
    pencil.ellipse((40, 50, 240, 250), fill=(200, 30, 30))
    pencil.ellipse((430, 90, 550, 210), fill=(30, 60, 200))
    return encode(image, "PNG")


@pytest.fixture(scope="module")
def shipped(cache: Path) -> Network:
    return Network(converted_model(find_model(DEFAULT_MODEL), cache), cache, parallel=False)


@pytest.mark.extended
def test_every_subject_is_found_and_the_main_one_is_used(shipped: Network) -> None:
    with Pipeline(lambda: shipped, Limits(), Kind.GENERIC) as pipeline:
        content = Content(two_things())
        extracted = pipeline.extract(content, PictureOptions())
        everything = pipeline.extract_all(content, PictureOptions())
    assert extracted.region == extracted.subjects[0]
    boxes = [(one.x1, one.x2, one.y1, one.y2) for one in extracted.subjects]
    assert np.allclose(boxes[0], (40, 241, 50, 251), atol=24)
    assert len(boxes) == 2
    left, right, top, bottom = boxes[1]
    # How much of the plain background it includes differs between processors.
    assert left >= 241, "apart from the first"
    assert left <= 430 < 551 <= right
    assert top <= 90 < 211 <= bottom
    assert [one.region for one in everything] == list(extracted.subjects)
    assert np.array_equal(everything[0].feature, extracted.feature)
    assert everything[0].feature @ everything[1].feature < 0.9


def test_a_found_subject_and_the_same_region_given_have_the_same_feature(shipped: Network) -> None:
    with Pipeline(lambda: shipped, Limits(), Kind.PRODUCT) as pipeline:
        content = Content(two_things())
        found = pipeline.extract(content, PictureOptions())
        given = pipeline.extract(content, PictureOptions(region=found.region))
    assert np.array_equal(given.feature, found.feature)
    assert given.chances == found.chances
    assert (given.region, given.subjects) == (found.region, ())


@pytest.mark.extended
def test_a_darker_copy_has_the_same_colours(shipped: Network, cache: Path) -> None:
    """Since feature version 4, for any picture; before, two of the same object looked like two of other colours."""
    record = replace(EMBEDDED_MODELS[DEFAULT_MODEL], feature_version=3)
    older = Network(converted_model(record, cache), cache, parallel=False)
    picture = draw(3, (400, 300))
    contents = [Content(encode(one, "PNG")) for one in (picture, ImageEnhance.Brightness(picture).enhance(0.5))]
    likeness = {}
    for name, network in (("now", shipped), ("before", older)):
        with Pipeline(lambda network=network: network, Limits(), Kind.GENERIC) as pipeline:
            features = [pipeline.extract(one, PictureOptions(crop=False)).feature for one in contents]
        colours = [feature[record.shape_dimension :] for feature in features]
        likeness[name] = float(colours[0] @ colours[1] / np.prod([np.linalg.norm(part) for part in colours]))
    assert likeness["now"] > 0.95
    assert likeness["before"] < 0.5


@pytest.mark.parametrize(
    "options", [PictureOptions(crop=False), PictureOptions(region=Region(0, 600, 0, 300))], ids=str
)
def test_where_the_region_is_known_nothing_is_looked_for(shipped: Network, options: PictureOptions) -> None:
    with Pipeline(lambda: shipped, Limits(), Kind.GENERIC) as pipeline:
        everything = pipeline.extract_all(Content(two_things()), options)
    assert [(one.region, one.subjects) for one in everything] == [(Region(0, 600, 0, 300), ())]


# Failures

FAILURES: list[tuple[bytes, Region | None, type[InputError]]] = [
    (b"", None, EmptyPicture),
    (b"text", None, UnsupportedPicFormat),
    (encode(draw(1), "PNG")[:20], None, DamagedPicture),
    (jpeg(1, (99, 100)), None, UnsupportedPicPixels),
    (jpeg(1), Region(0, 161, 0, 120), InvalidRegion),
    (b"x" * Limits().max_bytes, None, PictureTooLarge),
]


@pytest.mark.parametrize(("data", "region", "error"), FAILURES, ids=[error.__name__ for _, _, error in FAILURES])
def test_a_failure_travels_through_the_future(
    idle: Pipeline, tmp_path: Path, data: bytes, region: Region | None, error: type[InputError]
) -> None:
    """None of these needs the network."""
    future = idle.submit(write(tmp_path / "a.jpg", data), PictureOptions(region=region), unknown)
    with pytest.raises(error):
        future.result()


def test_a_picture_cut_off_is_damaged(pipeline: Pipeline) -> None:
    with pytest.raises(DamagedPicture):
        pipeline.extract(Content(jpeg(1)[:500]), PictureOptions())


def test_a_picture_of_which_little_is_missing_is_extracted_with_a_warning(pipeline: Pipeline) -> None:
    extracted = pipeline.extract(Content(jpeg(1)[:-2]), PictureOptions())
    assert extracted.warning is not None
    assert pipeline.extract(Content(jpeg(1)), PictureOptions()).warning is None


def test_a_source_that_cannot_be_read(idle: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource):
        idle.submit(FilePicture(tmp_path / "missing.jpg"), PictureOptions(), unknown).result()


def test_a_failure_spoils_nothing_for_the_others(pipeline: Pipeline, tmp_path: Path) -> None:
    good = write(tmp_path / "good.jpg", jpeg(1))
    sources = [good, write(tmp_path / "bad.jpg", b"text"), good, FilePicture(tmp_path / "missing.jpg"), good]
    futures = [pipeline.submit(source, PictureOptions(), unknown) for source in sources]
    assert [type(future.exception()) for future in futures] == [
        type(None),
        UnsupportedPicFormat,
        type(None),
        UnreadableSource,
        type(None),
    ]


def test_the_instances_limits_count(tmp_path: Path, network: Network) -> None:
    data = jpeg(1, (300, 200))
    for limits, error in ((Limits(max_bytes=len(data)), PictureTooLarge), (Limits(max_side=299), UnsupportedPicPixels)):
        with Pipeline(lambda: network, limits, Kind.GENERIC) as pipeline, pytest.raises(error):
            pipeline.submit(write(tmp_path / "a.jpg", data), PictureOptions(), unknown).result()


# The end


def test_closing_waits_for_what_has_begun_and_gives_up_the_rest(tmp_path: Path) -> None:
    begun, go_on = Event(), Event()

    def is_known(_hash: bytes) -> bool:
        begun.set()
        return go_on.wait(30)

    source = write(tmp_path / "a.jpg", b"anything")
    pipeline = Pipeline(no_network, Limits(), Kind.PRODUCT, workers=1)
    futures = [pipeline.submit(source, PictureOptions(), is_known) for _ in range(5)]
    assert begun.wait(30)
    closing = Thread(target=pipeline.close)
    closing.start()
    for future in futures[1:]:
        with pytest.raises(CancelledError):
            future.result(timeout=30)
    assert not futures[0].done()
    go_on.set()
    closing.join(30)
    assert not closing.is_alive()
    assert futures[0].result(timeout=0) is not None
