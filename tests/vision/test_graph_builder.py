"""The embedded networks built without torch.

Contract: in float32 each output is torch's to rounding, for every embedded model, version and purpose, and for weights
of one's own; what does not fit is refused with its file's name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from imgsearch.errors import InvalidModel
from imgsearch.vision.device_parity import cosines, textures
from imgsearch.vision.graph_builder import build, can_build
from imgsearch.vision.model_builder import assembled, load_network
from imgsearch.vision.model_weights import weights_file
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS, ModelRecord, find_model
from imgsearch.vision.openvino_compat import load_openvino

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.extended, pytest.mark.networks]

DEFAULT = EMBEDDED_MODELS[DEFAULT_MODEL]
LITE0 = EMBEDDED_MODELS["efficientnet-lite0"]
RECORDS = {
    **{f"{name}, version {number}": replace(record, feature_version=number)
       for name, record in EMBEDDED_MODELS.items() for number in (2, 3, 4)},
    "subjects": DEFAULT.locator(),
    "subjects, version 2": replace(DEFAULT, feature_version=2).locator(),
    "categories": DEFAULT.categoriser(),
    "categories beside another model": LITE0.categoriser(),
}  # fmt: skip
FURTHEST = 5e-5
"""Between numbers of float32 that were added up in another order; 1.6e-5 was seen, in the evidence of noise."""


def pictures(size: int) -> list[np.ndarray]:
    """Textures, bright and dark ones, black, white, and noise."""
    noise = np.random.default_rng(1).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return [*textures(2, size), textures(1, size)[0] // 3, np.zeros_like(noise), np.full_like(noise, 255), noise]


def compared(record: ModelRecord) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each output of torch and of OpenVINO in float32, a row for each picture."""
    graph, length = build(record)
    compiled = load_openvino().Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    module: Any = assembled(record, load_network(record)[0])
    made: list[list[np.ndarray]] = []
    for pixels in pictures(record.input_size):
        with torch.no_grad():
            outputs = module(torch.from_numpy(pixels[np.newaxis]))
        own = compiled({0: pixels[np.newaxis]})
        each = outputs if isinstance(outputs, tuple) else (outputs,)
        made.append([*(output.numpy() for output in each), *(own[number] for number in range(len(own)))])
    columns = [np.concatenate(column) for column in zip(*made, strict=True)]
    assert columns[0].shape[1] == length
    half = len(columns) // 2
    return list(zip(columns[:half], columns[half:], strict=True))


@pytest.mark.parametrize("name", RECORDS)
def test_the_same_numbers_as_torch(name: str) -> None:
    assert can_build(RECORDS[name])
    for theirs, ours in compared(RECORDS[name]):
        assert ours.shape == theirs.shape
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).max() < FURTHEST * max(1.0, np.abs(theirs).max())
        assert cosines(ours, theirs).min() > 1 - 1e-6


def test_weights_of_ones_own(tmp_path: Path) -> None:
    """Under any names, in the order of timm's."""
    package = weights_file(LITE0)
    assert package is not None
    state = torch.load(package, weights_only=True)
    changed = {
        f"own.{number}": value * 1.01 if value.dim() == 4 else value for number, value in enumerate(state.values())
    }
    torch.save({"state_dict": changed}, tmp_path / "own.pth")
    record = find_model("efficientnet-lite0", tmp_path / "own.pth")
    assert can_build(record)
    ((theirs, ours),) = compared(record)
    assert cosines(ours, theirs).min() > 1 - 1e-6


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    package = weights_file(LITE0)
    assert package is not None
    state = torch.load(package, weights_only=True)
    for change in ({"_conv_stem.weight": torch.zeros(32, 3, 5, 5)}, {"more": torch.zeros(1)}):
        torch.save(state | change, tmp_path / "w.pth")
        with pytest.raises(InvalidModel, match=r"w\.pth do not fit"):
            build(find_model("efficientnet-lite0", tmp_path / "w.pth"))
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(InvalidModel, match=r"w\.pth are not a state dict"):
        build(find_model("efficientnet-lite0", tmp_path / "w.pth"))


def test_all_other_models_need_torch() -> None:
    assert not can_build(find_model("resnet18"))
    assert not can_build(find_model("tf_efficientnet_lite0")), "its size is timm's to know"
