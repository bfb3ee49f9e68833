"""Codes: two bits for each number of a feature, and nothing beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.instance import Instance
from imgsearch.search.options import SearchOptions
from imgsearch.service.categories import Kind
from imgsearch.sources.files import FilePicture
from imgsearch.types import AddPicture
from imgsearch.values import Key
from imgsearch.vision.quantization import as_code

pytestmark = pytest.mark.networks


def feature(seed: int, dimension: int = 256) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 300))
def test_a_code_is_a_unit_vector_of_four_values(seed: int, dimension: int) -> None:
    """With the signs that were there; as stored, in half precision, still of length 1."""
    original = feature(seed, dimension)
    coded = as_code(original)
    assert (coded.dtype, coded.shape) == (np.float32, original.shape)
    assert len(np.unique(np.abs(coded))) <= 2
    assert (np.signbit(coded) == np.signbit(original)).all()
    assert np.linalg.norm(coded.astype(np.float16).astype(np.float64)) == pytest.approx(1, abs=1e-3)


def test_equal_codes_are_equal_to_the_last_bit() -> None:
    """What is stored tells the code and no more: numbers that share one cannot be told apart by it."""
    original = feature(1)
    distance = np.minimum(np.abs(np.abs(original) - 0.9816 / 16), np.abs(original))
    moved = original + np.where(distance > 1e-3, 5e-4, 0).astype(np.float32)
    assert not np.array_equal(moved, original)
    assert np.array_equal(as_code(moved), as_code(original))
    assert np.array_equal(as_code(as_code(original)), as_code(original))


def test_codes_are_as_near_to_each_other_as_what_they_stand_for() -> None:
    """The cosine to the original is 0.94 (Max, 1960: a distortion of 0.1175), and neighbours stay neighbours."""
    assert np.mean([as_code(feature(n)) @ feature(n) for n in range(50)]) == pytest.approx(0.94, abs=0.01)
    near = feature(0) + 0.3 * feature(1)
    assert as_code(near / np.linalg.norm(near)) @ as_code(feature(0)) > 0.8


def test_an_instance_of_codes(folder: Path, catalogue: Path) -> None:
    """Whatever is added, stored and searched for is a code; the stamp says so, and an instance alike is the same."""
    Instance.create(folder, Kind.GENERIC, codes=True)
    pictures = sorted(catalogue.glob("*.jpg"))
    with Instance.open(folder) as instance:
        list(instance.apply(AddPicture(str(path), Key("p", path.name), FilePicture(path)) for path in pictures))
        assert instance.info().stamp["features"] == "2 bits a number"
        with instance.searching() as searcher:
            found = searcher.by_picture(FilePicture(pictures[3]), search=SearchOptions(num=12)).hits
            by_name = searcher.by_name(Key("p", pictures[3].name), search=SearchOptions(num=12)).hits
        stored = np.concatenate([features for _, features in instance._opened.engine.store.features()])
        instance.create_alike(folder.parent / "alike")
    assert all(len(np.unique(row)) <= 4 for row in stored)
    assert [(hit.item.key.pic_name, hit.distance) for hit in found if hit.score == 1.0] == [(pictures[3].name, 0)]
    assert [hit.item.id for hit in by_name] == [hit.item.id for hit in found]
    assert Instance.check(folder, read_data=True) == []
    with Instance.open(folder.parent / "alike") as alike:
        assert alike.model.coded


def test_floats_are_the_default(folder: Path) -> None:
    Instance.create(folder, Kind.GENERIC)
    with Instance.open(folder) as instance:
        assert not instance.model.coded
        assert instance.info().stamp["features"] == "half precision"
