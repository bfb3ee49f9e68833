"""Running the network: the same picture always gives the same numbers, whatever runs beside it.

Contract: a feature is float32, L2-normalised, as long as the record says; pictures go through one by one from any
number of threads, with the same bits each time in one mode, and numbers within a millionth in the other; what lies in
the cache of compiled networks decides about speed only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.vision.compile_settings import compile_settings
from imgsearch.vision.models import DEFAULT_MODEL, find_model
from imgsearch.vision.openvino_export import ConvertedModel, converted_model
from imgsearch.vision.precision import BF16, F32
from imgsearch.vision.runtime import Network, available_cores
from tests.pictures import draw

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.networks


def pictures(count: int, size: int) -> list[np.ndarray]:
    return [np.asarray(draw(number, (size, size))) for number in range(count)]


@pytest.fixture(scope="module", params=["tiny", DEFAULT_MODEL])
def model(request: pytest.FixtureRequest, tiny: ConvertedModel, cache: Path) -> ConvertedModel:
    return tiny if request.param == "tiny" else converted_model(find_model(request.param), cache)


@pytest.fixture(scope="module")
def network(model: ConvertedModel, cache: Path) -> Network:
    return Network(model, cache, parallel=False)


def test_a_feature_is_a_short_unit_vector(model: ConvertedModel, network: Network) -> None:
    assert network.input_size == model.record.input_size
    for picture in pictures(5, network.input_size):
        feature = network.embed(picture)[0]
        assert (feature.dtype, feature.shape) == (np.float32, (model.record.dimension,))
        assert np.isfinite(feature).all()
        assert np.linalg.norm(feature) == pytest.approx(1, abs=1e-3)


def test_extreme_pictures_have_features_too(network: Network) -> None:
    size = network.input_size
    for value in (0, 128, 255):
        feature = network.embed(np.full((size, size, 3), value, np.uint8))[0]
        assert np.linalg.norm(feature) == pytest.approx(1, abs=1e-3)


def test_other_pictures_have_other_features(network: Network) -> None:
    features = np.stack([network.embed(picture)[0] for picture in pictures(6, network.input_size)])
    similar = features @ features.T
    assert (similar - np.eye(len(features)) < 0.9999).all()


def test_features_stay_when_the_next_one_is_made(network: Network) -> None:
    """They own their numbers; the network's output buffer is used again."""
    first, second = pictures(2, network.input_size)
    feature = network.embed(first)[0]
    kept = feature.copy()
    network.embed(second)
    assert np.array_equal(feature, kept)


def test_any_layout_in_memory_gives_the_same_bits(network: Network) -> None:
    (picture,) = pictures(1, network.input_size)
    expected = network.embed(picture)[0]
    read_only = picture.copy()
    read_only.flags.writeable = False
    for same in (np.asfortranarray(picture), picture[::-1].copy()[::-1], np.stack([picture] * 2)[1], read_only):
        assert np.array_equal(network.embed(same)[0], expected)


@pytest.mark.parametrize("parallel", [True, False])
def test_the_same_bits_alone_and_in_a_crowd(model: ConvertedModel, cache: Path, parallel: bool) -> None:
    """Indexing again meets in the very same feature, whatever is indexed beside it."""
    images = pictures(6, model.record.input_size)
    crowded = Network(model, cache, parallel=parallel)
    alone = [crowded.embed(image)[0] for image in images]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: crowded.embed(images[number % 6])[0], range(48)))
    for number, feature in enumerate(found):
        assert np.array_equal(feature, alone[number % 6])


def test_either_mode_gives_the_same_numbers(model: ConvertedModel, network: Network, cache: Path) -> None:
    """As far as float32 tells them apart: threads that share a picture add up in another order (6e-8 were seen)."""
    side_by_side = Network(model, cache, parallel=True)
    for image in pictures(6, network.input_size):
        np.testing.assert_allclose(side_by_side.embed(image)[0], network.embed(image)[0], rtol=0, atol=1e-6)


IN_A_NEW_PROCESS = """
import sys
from pathlib import Path
import numpy as np
from imgsearch.vision.openvino_export import ConvertedModel
from imgsearch.vision.runtime import Network
model = ConvertedModel.load(Path(sys.argv[1]))
pixels = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape(model.record.input_size, -1, 3)
sys.stdout.buffer.write(Network(model, Path(sys.argv[2]), parallel=True).embed(pixels)[0].tobytes())
assert "torch" not in sys.modules
"""


def test_the_same_bits_in_another_process(model: ConvertedModel, cache: Path) -> None:
    network = Network(model, cache, parallel=True)
    (picture,) = pictures(1, network.input_size)
    words = [sys.executable, "-c", IN_A_NEW_PROCESS, model.folder, cache]
    result = subprocess.run(words, input=picture.tobytes(), capture_output=True, check=True, timeout=60)
    assert result.stdout == network.embed(picture)[0].tobytes()
    assert result.stderr == b""


# The cache of compiled networks


@pytest.fixture
def own(tiny: ConvertedModel, tmp_path: Path) -> ConvertedModel:
    """The tiny model in a folder that nothing was compiled in."""
    folder = tmp_path / "model"
    shutil.copytree(tiny.folder, folder, ignore=shutil.ignore_patterns("compiled*"))
    return ConvertedModel(folder, tiny.record)


def compiled(folder: Path) -> list[Path]:
    return sorted(folder.glob("compiled*/*"))


def cut_off(folder: Path) -> None:
    for path in compiled(folder):
        os.truncate(path, path.stat().st_size // 2)


def emptied(folder: Path) -> None:
    for path in compiled(folder):
        path.write_bytes(b"")


def overwritten(folder: Path) -> None:
    for path in compiled(folder):
        path.write_bytes(b"garbage " * 1000)


def deleted(folder: Path) -> None:
    for path in compiled(folder):
        path.unlink()


def untouched(folder: Path) -> None:
    assert compiled(folder)


@pytest.mark.parametrize("damage", [untouched, cut_off, emptied, overwritten, deleted])
def test_damage_in_the_compiled_cache_changes_nothing(
    damage: Callable[[Path], None], own: ConvertedModel, cache: Path
) -> None:
    """As a process that is killed while writing leaves it, or a full disk."""
    (picture,) = pictures(1, own.record.input_size)
    expected = Network(own, cache, parallel=False).embed(picture)[0]
    damage(own.folder)
    assert np.array_equal(Network(own, cache, parallel=False).embed(picture)[0], expected)


def test_works_without_a_compiled_cache(tiny: ConvertedModel, own: ConvertedModel, cache: Path) -> None:
    for precision in (None, F32, BF16):
        folder = Path(compile_settings(own.path, precision, cores=2, parallel=False)["CACHE_DIR"])
        folder.write_text("no folder can be made here")
    (picture,) = pictures(1, tiny.record.input_size)
    expected = Network(tiny, cache, parallel=False).embed(picture)[0]
    assert np.array_equal(Network(own, cache, parallel=False).embed(picture)[0], expected)


# Reporting


ASKED = """
import json, sys
from pathlib import Path
import numpy as np
from imgsearch.vision.openvino_export import ConvertedModel
from imgsearch.vision.runtime import Network
model = ConvertedModel.load(Path(sys.argv[1]))
network = Network(model, Path(sys.argv[2]), parallel=False)
size = network.input_size
assert network.embed(np.zeros((size, size, 3), np.uint8))[0].shape == (model.record.dimension,)
print(json.dumps([name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module]))
"""


def test_nothing_is_reported_to_anybody(tiny: ConvertedModel, tmp_path: Path) -> None:
    """OpenVINO would tell its makers of every import, under an identifier that it keeps in the home folder."""
    assert version("openvino-telemetry"), "nothing to be kept from: drop this test"
    home = tmp_path / "home"
    home.mkdir()
    result = subprocess.run(
        [sys.executable, "-c", ASKED, tiny.folder, tmp_path / "cache"],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout) == []
    assert list(home.iterdir()) == []


# Cores


ON_ONE_CORE = """
import os
from imgsearch.vision.runtime import available_cores
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(available_cores())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to cores")
def test_counts_the_cores_that_it_may_use() -> None:
    """In a container or under taskset these are fewer than the machine has."""
    result = subprocess.run([sys.executable, "-c", ON_ONE_CORE], capture_output=True, text=True, check=True)
    assert result.stdout == "1\n"
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.extended
def test_many_processes_compile_at_once(own: ConvertedModel, cache: Path) -> None:
    """OpenVINO's cache is not made for processes that write the same file at the same time.

    They are a first ``add`` and a first ``search``, each three times.
    """
    program = (
        "import sys, json; from pathlib import Path; import numpy as np\n"
        "from imgsearch.vision.runtime import Graph\n"
        "graph = Graph(Path(sys.argv[1]), parallel=sys.argv[3] == 'True')\n"
        "print(json.dumps(graph(np.full(json.loads(sys.argv[2]), 100, np.uint8))[0].tolist()))\n"
    )
    side = own.record.input_size
    words = [sys.executable, "-c", program, str(own.path), json.dumps([side, side, 3])]
    processes = [
        subprocess.Popen([*words, str(number % 2 == 0)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for number in range(6)
    ]
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, answers
    assert [len({out for out, _ in answers[mode::2]}) for mode in (0, 1)] == [1, 1]
    features = np.array([json.loads(out) for out, _ in answers], np.float32)
    np.testing.assert_allclose(features, features[:1].repeat(6, axis=0), rtol=0, atol=1e-6)
    assert len(compiled(own.folder)) == len(list(own.folder.glob("compiled*"))) == 1, "and nothing is left over"
