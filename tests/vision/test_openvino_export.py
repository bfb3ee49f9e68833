"""Conversion: any timm model becomes a folder in the cache, once per machine, whole or not at all.

Contract: torch lives in a child process only; a second process waits for the first; whatever a killed process leaves
is never taken for a model and never in the way; what cannot be converted is an ``InvalidModel`` that says why, in one
line, and what to do. No model file can run code, and nobody is told that the tool was used.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from imgsearch.errors import InvalidModel, StorageUnwritable
from imgsearch.vision.compile_settings import COMPILED
from imgsearch.vision.model_cache import RECORD_NAME
from imgsearch.vision.model_weights import HUB
from imgsearch.vision.models import DEFAULT_MODEL, ModelRecord, find_model
from imgsearch.vision.openvino_export import MODEL_NAME, WEIGHTS_NAME, ConvertedModel, converted_model
from imgsearch.vision.runtime import Network
from tests.vision.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.extended, pytest.mark.networks]

FILES = {MODEL_NAME, WEIGHTS_NAME, RECORD_NAME}
"""What a converted model consists of."""

PIXELS = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
LINES = 4
"""What people are told of one conversion."""

CONVERTING = [sys.executable, "-m", "imgsearch.vision.openvino_export"]

CONVERT = """
import json, sys
from pathlib import Path
from imgsearch.vision.openvino_export import converted_model
from imgsearch.vision.models import find_model
said = []
model = converted_model(find_model(sys.argv[1], Path(sys.argv[2])), Path(sys.argv[3]), said.append)
heavy = [name for name in ("torch", "timm", "torchvision", "openvino_telemetry") if name in sys.modules]
print(json.dumps({"path": str(model.path), "said": said, "heavy": heavy}))
"""


def feature(model: ConvertedModel, cache: Path) -> np.ndarray:
    return Network(model, cache, parallel=False).embed(PIXELS)[0]


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "models").glob("*.tmp"))


@pytest.fixture
def own_cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def copied_cache(tiny: ConvertedModel, cache: Path, own_cache: Path) -> Path:
    """A cache that holds the tiny model and may be damaged."""
    shutil.copytree(cache / "models", own_cache / "models", symlinks=True)
    return own_cache


# What comes out


def test_the_record_is_complete_afterwards(tiny: ConvertedModel, weights: Path) -> None:
    asked = find_model(TINY, weights / "plain.pth")
    assert (tiny.record.name, tiny.record.architecture, tiny.record.weights) == (TINY, TINY, asked.weights)
    assert tiny.record.weights_hash == asked.weights_hash
    assert tiny.record.input_size == 160
    assert tiny.record.mean == tiny.record.std == (0.5, 0.5, 0.5)
    assert tiny.record.dimension > 0


def test_the_cache_holds_exactly_the_model(tiny: ConvertedModel, cache: Path) -> None:
    """Beside it, other processes may be about other models."""
    assert {path.name for path in tiny.folder.iterdir() if not path.name.startswith(COMPILED)} == FILES
    assert not [name for name in leftovers(cache) if name.startswith(tiny.folder.name)]


def test_instances_of_codes_share_the_networks(tiny: ConvertedModel, cache: Path) -> None:
    """The record that asks decides how features are kept, whoever had the model converted."""
    coded = converted_model(replace(tiny.record, bits=2), cache)
    assert coded.record.bits == 2
    assert coded.path.samefile(tiny.path)
    stored = ConvertedModel.load(tiny.folder)
    assert stored is not None
    assert stored.record.bits == 16


def test_the_first_one_may_be_an_instance_of_codes(tiny: ConvertedModel, own_cache: Path) -> None:
    converted_model(replace(tiny.record, bits=2), own_cache)
    assert converted_model(tiny.record, own_cache).record.bits == 16
    stored = ConvertedModel.load(own_cache / "models" / tiny.record.cache_name())
    assert stored is not None
    assert stored.record.bits == 16


def test_the_complete_record_leads_to_the_same_model(tiny: ConvertedModel, weights: Path, cache: Path) -> None:
    """An instance keeps the complete record; opening it must not convert again, nor must making a second one."""
    said: list[str] = []
    for record in (tiny.record, find_model(TINY, weights / "plain.pth")):
        model = converted_model(record, cache, said.append)
        assert model.record == tiny.record
        assert model.path.samefile(tiny.path)
    assert said == []


def test_weights_that_have_moved_are_the_same_weights(
    tiny: ConvertedModel, weights: Path, cache: Path, tmp_path: Path
) -> None:
    """The record says where they lie now, so that the cache can be filled again from there."""
    moved = tmp_path / "moved.pth"
    shutil.copy(weights / "plain.pth", moved)
    said: list[str] = []
    model = converted_model(find_model(TINY, moved), cache, said.append)
    assert said == []
    assert model.record == replace(tiny.record, weights=f"file:{moved}")


def test_an_embedded_model_knows_itself_what_conversion_finds(cache: Path) -> None:
    """Its instance can therefore be made before it is converted."""
    record = find_model(DEFAULT_MODEL)
    assert converted_model(record, cache).record == record


@pytest.mark.long
def test_converting_again_gives_the_same_bits(
    tiny: ConvertedModel, weights: Path, cache: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache can be deleted at any time. Modules in the folder where the user happens to be are not imported."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("timm", "torch", "openvino", "imgsearch"):
        (elsewhere / f"{name}.py").write_text("raise SystemExit('not me')")
    monkeypatch.chdir(elsewhere)
    said: list[str] = []
    again = converted_model(find_model(TINY, weights / "plain.pth"), own_cache, said.append)
    assert len(said) == LINES, "that it begins and happens once, and its three steps"
    assert TINY in said[0]
    assert "once" in said[0]
    assert not any("\n" in line for line in said)
    assert again.record == tiny.record
    assert np.array_equal(feature(again, own_cache), feature(tiny, cache))
    (tmp_path / "ordinary").mkdir()
    ordinary = (tmp_path / "ordinary").stat().st_mode
    assert {path.stat().st_mode for path in (own_cache, own_cache / "models")} == {ordinary}, "others may use it, too"


def test_the_child_reports_to_nobody_and_prints_its_steps_only(weights: Path, tmp_path: Path) -> None:
    """OpenVINO's converter would send usage statistics with the help of openvino_telemetry."""
    assert version("openvino-telemetry"), "nothing to be kept from: drop this test"
    record = find_model(TINY, weights / "plain.safetensors")
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *CONVERTING[1:], tmp_path],
        input=json.dumps(record.as_dict()),
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert {"torch", "timm", "openvino", "safetensors.torch"} <= imported
    assert not {name for name in imported if name.startswith("openvino_telemetry.")}, "more than a refused attempt"
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [["step", f"{n}/3"] for n in (1, 2, 3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


# Weights

GOOD = {
    "plain.safetensors": TINY,
    "checkpoint.pth": TINY,
    "renamed.pth": TINY,
    "half.pth": TINY,
    "vit.pth": "test_vit",
}
BAD = {
    "one missing.pth": "do not fit",
    "one more.pth": "do not fit",
    "other shape.pth": "do not fit",
    "other order.pth": "do not fit",
    "another network.pth": "do not fit",
    "text.pth": "do not fit",
    "nothing.pth": "do not fit",
    "list.pth": "not a state dict",
    "code.pth": "could run any code",
    "garbage.pth": "cannot be read",
    "garbage.safetensors": "cannot be read",
    "empty.pth": "cannot be read",
    "cut.pth": "cannot be read",
    "cut.safetensors": "cannot be read",
}

CONVERT_ALL = """
import json, sys
from pathlib import Path
from imgsearch.vision.openvino_export import convert
from imgsearch.vision.models import find_model
from imgsearch.errors import InvalidModel
outcomes = {}
for name, architecture in json.loads(sys.argv[3]).items():
    path, target = Path(sys.argv[1]) / name, Path(sys.argv[2]) / name
    target.mkdir()
    try:
        outcomes[name] = convert(find_model(architecture, path), target).as_dict()
    except InvalidModel as error:
        outcomes[name] = error.message
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def conversions(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Name of a file of weights to its complete record, or to the message; and the folder with the models.

    This is ``convert`` itself, called for all files in one process, since it is importing torch that takes long.
    """
    folder = tmp_path_factory.mktemp("conversions")
    asked = json.dumps(dict.fromkeys(BAD, TINY) | GOOD)
    words = [sys.executable, "-c", CONVERT_ALL, weights, folder, asked]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "arbitrary code ran" not in result.stdout
    return json.loads(result.stdout.splitlines()[-1]), folder


@pytest.mark.parametrize("name", GOOD)
def test_good_weights(name: str, conversions: tuple[dict[str, Any], Path], tiny: ConvertedModel, cache: Path) -> None:
    """Both file formats, checkpoints, tensors under other names in the same order, other precisions and networks."""
    outcomes, folder = conversions
    model = ConvertedModel.load(folder / name)
    assert model is not None
    assert model.record == ModelRecord.from_dict(outcomes[name])
    found = feature(model, cache)
    assert found.shape == (model.record.dimension,)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-3)
    if name in ("plain.safetensors", "checkpoint.pth", "renamed.pth"):
        assert np.array_equal(found, feature(tiny, cache)), "the same tensors"
    elif name == "half.pth":
        assert found @ feature(tiny, cache) > 0.99


@pytest.mark.parametrize("name", BAD)
def test_bad_weights(name: str, conversions: tuple[dict[str, Any], Path], weights: Path) -> None:
    outcomes, folder = conversions
    message = outcomes[name]
    assert isinstance(message, str), "it was converted"
    assert BAD[name] in message
    assert str(weights / name) in message
    assert "\n" not in message
    assert len(message) < 500
    assert list((folder / name).iterdir()) == []


def test_altered_weights_are_found_before_anything_is_started(weights: Path, own_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    shutil.copy(weights / "plain.pth", path)
    record = find_model(TINY, path)
    path.write_bytes(b"others")
    said: list[str] = []
    with pytest.raises(InvalidModel, match="are not those of"):
        converted_model(record, own_cache, said.append)
    assert said == []


# Names


def test_a_name_that_timm_does_not_know(own_cache: Path) -> None:
    with pytest.raises(InvalidModel, match=r"knows no model 'no_such_network'.*list_models") as caught:
        converted_model(find_model("no_such_network"), own_cache)
    assert "\n" not in caught.value.message
    assert all(path.suffix == ".lock" for path in (own_cache / "models").iterdir()), "nothing stays behind"


def test_weights_from_the_hub_without_a_network(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with pytest.raises(InvalidModel, match=r"cannot be had from the hub.*--weights") as caught:
        converted_model(find_model(f"{TINY}.r160_in1k"), own_cache)
    assert "\n" not in caught.value.message


def put_into_hub_cache(home: Path, weights: Path, revision: str) -> None:
    """What huggingface_hub keeps of a model that it has downloaded."""
    folder = home / "hub" / f"models--timm--{TINY}.r160_in1k"
    snapshot = folder / "snapshots" / (revision * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(revision * 40)
    shutil.copy(weights, snapshot / "model.safetensors")


def test_weights_from_the_hub(
    weights: Path, own_cache: Path, tiny: ConvertedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a download leaves them. Their hash becomes part of the record; where the hub gives other ones later, the
    instance's are asked for instead of mixing features of two models."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    put_into_hub_cache(tmp_path / "home", weights / "plain.safetensors", "a")
    said: list[str] = []
    asked = find_model(f"{TINY}.r160_in1k")
    model = converted_model(asked, own_cache, said.append)
    assert model.record.weights == HUB
    assert len(model.record.weights_hash) == 64
    assert np.array_equal(feature(model, own_cache), feature(tiny, own_cache))
    assert converted_model(model.record, own_cache, said.append).path.samefile(model.path)
    assert len(said) == LINES, "it was converted once"

    shutil.rmtree(own_cache)
    other = tmp_path / "other.safetensors"
    doubled = {name: 2 * tensor for name, tensor in load_file(weights / "plain.safetensors").items()}
    save_file(doubled, other)
    put_into_hub_cache(tmp_path / "home", other, "b")
    with pytest.raises(InvalidModel, match=r"other ones now.*--weights"):
        converted_model(model.record, own_cache)
    assert ConvertedModel.load(own_cache / "models" / model.record.cache_name()) is None, "the right ones may come back"


# The cache


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def forget_sizes(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sizes": None}))


def forget_field(path: Path) -> None:
    note = json.loads(path.read_text())
    del note["record"]["architecture"]
    path.write_text(json.dumps(note))


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "weights cut off": (WEIGHTS_NAME, cut),
    "weights empty": (WEIGHTS_NAME, lambda path: path.write_bytes(b"")),
    "weights missing": (WEIGHTS_NAME, lambda path: path.unlink()),
    "model cut off": (MODEL_NAME, cut),
    "model missing": (MODEL_NAME, lambda path: path.unlink()),
    "record missing": (RECORD_NAME, lambda path: path.unlink()),
    "record cut off": (RECORD_NAME, cut),
    "record is garbage": (RECORD_NAME, lambda path: path.write_bytes(b"\xff\0garbage")),
    "record is a number": (RECORD_NAME, lambda path: path.write_text("3")),
    "record is a list": (RECORD_NAME, lambda path: path.write_text("[]")),
    "record without sizes": (RECORD_NAME, forget_sizes),
    "record without architecture": (RECORD_NAME, forget_field),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_incomplete_model_is_none(damage: str, tiny: ConvertedModel, copied_cache: Path) -> None:
    folder = copied_cache / "models" / tiny.record.cache_name()
    assert ConvertedModel.load(folder) is not None
    name, change = DAMAGE[damage]
    change(folder / name)
    assert ConvertedModel.load(folder) is None


def test_an_incomplete_model_is_converted_again(tiny: ConvertedModel, copied_cache: Path, cache: Path) -> None:
    folder = copied_cache / "models" / tiny.record.cache_name()
    cut(folder / WEIGHTS_NAME)
    (folder / RECORD_NAME).unlink()
    said: list[str] = []
    again = converted_model(tiny.record, copied_cache, said.append)
    assert len(said) == LINES
    assert np.array_equal(feature(again, copied_cache), feature(tiny, cache))
    assert leftovers(copied_cache) == []


def test_a_file_in_the_place_of_the_cache(own_cache: Path, tiny: ConvertedModel) -> None:
    own_cache.write_text("in the way")
    with pytest.raises(StorageUnwritable, match=re.escape(str(own_cache))):
        converted_model(tiny.record, own_cache)


# Several processes


def start(*words: object) -> subprocess.Popen[str]:
    """In a process group of its own, so that it can be killed with its children."""
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Whatever the test has started ends with it."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_two_processes_at_once_convert_once(
    weights: Path, own_cache: Path, processes: list[subprocess.Popen[str]], tiny: ConvertedModel, cache: Path
) -> None:
    """The second waits for the first. Neither imports torch: that is for the child alone."""
    words = ("-c", CONVERT, TINY, weights / "plain.pth", own_cache)
    processes += [start(*words), start(*words)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = (json.loads(stdout) for stdout, _stderr in outputs)
    assert len(first["said"]) + len(second["said"]) == LINES
    assert first["heavy"] == second["heavy"] == []
    model = converted_model(find_model(TINY, weights / "plain.pth"), own_cache)
    assert model.path.samefile(first["path"])
    assert model.path.samefile(second["path"])
    assert np.array_equal(feature(model, own_cache), feature(tiny, cache))
    assert leftovers(own_cache) == []


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, f"it ended before it could be killed: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_killed_half_way(
    weights: Path, own_cache: Path, processes: list[subprocess.Popen[str]], tiny: ConvertedModel, cache: Path
) -> None:
    """Killed with its child, before and while files are written; then killed alone, its child going on unattended.

    Nothing counts as a model until one process has gone all the way, and nothing stays behind then.
    """
    words = ("-c", CONVERT, TINY, weights / "plain.pth", own_cache)
    models = own_cache / "models"
    asked = find_model(TINY, weights / "plain.pth")

    def temporary() -> list[Path]:
        return list(models.glob("*.tmp"))

    def written() -> list[Path]:
        return list(models.glob(f"*.tmp/{MODEL_NAME}"))

    for moment, kill in ((temporary, os.killpg), (written, os.killpg), (temporary, os.kill)):
        known = set(moment())
        process = start(*words)
        processes.append(process)
        wait_for(lambda moment=moment, known=known: set(moment()) - known, process)
        kill(process.pid, signal.SIGKILL)
        process.wait()
        assert ConvertedModel.load(models / asked.cache_name()) is None
        assert temporary(), "it was killed too late"
    said: list[str] = []
    model = converted_model(asked, own_cache, said.append)
    assert len(said) == LINES
    assert np.array_equal(feature(model, own_cache), feature(tiny, cache))
    assert ConvertedModel.load(model.folder) is not None
