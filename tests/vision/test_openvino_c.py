"""OpenVINO by its C interface: the same bits as by its Python package, and errors instead of wrong numbers."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.cores import available_cores
from imgsearch.vision.compile_settings import compile_settings
from imgsearch.vision.models import DEFAULT_MODEL, find_model
from imgsearch.vision.openvino_c import CompiledNetwork
from imgsearch.vision.openvino_compat import load_openvino
from imgsearch.vision.openvino_export import ConvertedModel, converted_model
from imgsearch.vision.precision import check_precision
from imgsearch.vision.runtime import Graph
from tests.pictures import draw

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.networks


def settings_of(path: Path) -> dict[str, str]:
    return compile_settings(path, check_precision(), cores=available_cores(), parallel=False)


@pytest.fixture(scope="module", params=["embedder", "locator", "categoriser", "tiny"])
def model(request: pytest.FixtureRequest, tiny: ConvertedModel, cache: Path) -> ConvertedModel:
    """Each network of a search, and one that timm brings."""
    if request.param == "tiny":
        return tiny
    record = find_model(DEFAULT_MODEL)
    return converted_model(record if request.param == "embedder" else getattr(record, request.param)(), cache)


def pictures(model: ConvertedModel) -> list[np.ndarray]:
    size = model.record.input_size
    return [np.asarray(draw(number, (size, size))) for number in range(3)]


def test_gives_the_bits_of_the_python_package(model: ConvertedModel) -> None:
    graph = Graph(model.path, parallel=False)
    network = CompiledNetwork(model.path, settings_of(model.path))
    for picture in pictures(model):
        expected, found = graph(picture), network(np.asfortranarray(picture))
        assert [one.shape for one in found] == [one.shape for one in expected]
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_threads_get_the_numbers_of_their_own_picture(tiny: ConvertedModel) -> None:
    network = CompiledNetwork(tiny.path, settings_of(tiny.path))
    images = pictures(tiny)
    alone = [network(image)[0] for image in images]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda number: network(images[number % 3])[0], range(24)))
    assert all(np.array_equal(feature, alone[number % 3]) for number, feature in enumerate(found))


def test_a_picture_of_another_size_is_refused(tiny: ConvertedModel) -> None:
    network = CompiledNetwork(tiny.path, settings_of(tiny.path))
    with pytest.raises(ValueError, match="the network takes"):
        network(np.zeros((8, 8, 3), np.uint8))


def test_paths_may_have_any_name(tiny: ConvertedModel, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode("Größe \xff".encode("latin-1"))
    shutil.copytree(tiny.folder, folder)
    path = folder / tiny.path.name
    picture = pictures(tiny)[0]
    expected = CompiledNetwork(tiny.path, settings_of(tiny.path))(picture)[0]
    assert np.array_equal(CompiledNetwork(path, settings_of(path))(picture)[0], expected)


def test_what_cannot_be_loaded_says_so(tiny: ConvertedModel, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="compile_model_from_file"):
        CompiledNetwork(tmp_path / "none.xml", settings_of(tmp_path / "none.xml"))
    with pytest.raises(RuntimeError, match="NO_SUCH_SETTING"):
        CompiledNetwork(tiny.path, {"NO_SUCH_SETTING": "1"})


def test_a_network_that_gives_no_float32_is_refused(tmp_path: Path) -> None:
    openvino = load_openvino()
    operations = openvino.opset13
    given = operations.parameter([1, 4], np.uint8)
    openvino.save_model(openvino.Model([operations.convert(given, "f64")], [given]), tmp_path / "model.xml")
    with pytest.raises(RuntimeError, match="no float32"):
        CompiledNetwork(tmp_path / "model.xml", settings_of(tmp_path / "model.xml"))
