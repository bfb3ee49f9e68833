"""A device is compared with the CPU before its features are mixed with those of the CPU.

Contract: what is too far from the CPU is refused with its numbers; what agrees is remembered in the cache, per model,
device, and what drives both.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.errors import DeviceUnusable
from imgsearch.vision import device_parity
from imgsearch.vision.device_parity import LEAST_COSINE, check_agreement, cosines, textures
from imgsearch.vision.devices import CPU, Device
from imgsearch.vision.models import DEFAULT_MODEL, find_model
from imgsearch.vision.openvino_export import ConvertedModel, converted_model
from tests import torch_on_cpu

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.extended, pytest.mark.networks]

TORCH = Device.parse("torch:cpu")


def test_textures_are_pictures_and_always_the_same() -> None:
    first, again = textures(16, 96), textures(16, 96)
    for one, other in zip(first, again, strict=True):
        assert (one.dtype, one.shape) == (np.uint8, (96, 96, 3))
        assert (one.min(), one.max()) == (0, 255)
        assert np.array_equal(one, other)
    assert len({one.tobytes() for one in first}) == 16
    assert np.abs(np.diff(first[0].astype(int), axis=0)).mean() < 40  # smooth, no noise


def test_cosines_are_those_of_rows() -> None:
    rows = np.array([[[1, 0], [0, 0]], [[0, 2], [0, 0]], [[0, 0], [0, 0]], [[3, 3], [0, 0]]], np.float32)
    others = np.array([[[5, 0], [0, 0]], [[0, -1], [0, 0]], [[1, 0], [0, 0]], [[1, 0], [0, 0]]], np.float32)
    assert cosines(rows, others) == pytest.approx([1, -1, 0, 0.5**0.5])


def test_torch_agrees_with_openvino(cache: Path) -> None:
    """The default model's networks themselves; whatever OpenVINO calculates in on this processor."""
    told: list[str] = []
    model = converted_model(find_model(DEFAULT_MODEL), cache)
    for _ in range(2):
        check_agreement(model, torch_on_cpu.TORCH, cache, told.append)
    assert sum(text.startswith("Comparing") for text in told) <= 1  # another test may have been first
    notes = [json.loads(path.read_text()) for path in (cache / "agreement").iterdir()]
    (least,) = [note["least"] for note in notes if note["device"] == torch_on_cpu.TORCH.label]
    assert set(least) == {"feature", "subjects", "category of the whole", "category of the region"}
    assert min(least.values()) >= LEAST_COSINE


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Put results in the place of a measurement; the list grows with each one."""

    def put(**found: float) -> list[str]:
        asked: list[str] = []

        def measure(_model: ConvertedModel, device: Device, _cache: Path, _announce: object) -> dict[str, float]:
            asked.append(device.name)
            return found

        monkeypatch.setattr(device_parity, "_measured", measure)
        return asked

    return put


def test_it_is_measured_once_per_model_and_device(
    measured: Callable[..., list[str]], tiny: ConvertedModel, tmp_path: Path
) -> None:
    asked = measured(feature=0.99)
    for _ in range(3):
        check_agreement(tiny, TORCH, tmp_path)
        check_agreement(tiny, Device.parse("torch:cpu+bf16"), tmp_path)
    assert asked == ["torch:cpu", "torch:cpu+bf16"]
    check_agreement(ConvertedModel(tiny.folder, replace(tiny.record, weights_hash="1" * 64)), TORCH, tmp_path)
    assert len(asked) == 3
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "agreement").iterdir())


def test_it_is_measured_again_with_another_driver(
    measured: Callable[..., list[str]], tiny: ConvertedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = measured(feature=0.99)
    check_agreement(tiny, TORCH, tmp_path)
    monkeypatch.setattr(Device, "description", lambda self: f"{self.name} of tomorrow")
    check_agreement(tiny, TORCH, tmp_path)
    assert len(asked) == 2


@pytest.mark.parametrize("bad", [0.9849, 0.0, -1.0, float("nan")])
def test_one_that_is_too_far_is_refused_each_time(
    bad: float, measured: Callable[..., list[str]], tiny: ConvertedModel, tmp_path: Path
) -> None:
    asked = measured(feature=0.999, subjects=bad)
    for _ in range(2):
        with pytest.raises(DeviceUnusable, match=f"feature 0.9990, subjects {bad:.4f}, where 0.985 is") as one:
            check_agreement(tiny, TORCH, tmp_path)
        assert one.value.message.endswith("leave out --device to use the CPU")
    assert len(asked) == 2


def test_a_device_that_calculates_wrongly_is_found_out(
    tiny: ConvertedModel, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two networks for real, and a mistake in the features of one."""

    def outputs(network: device_parity.Network) -> dict[str, np.ndarray]:
        features = np.stack([network.embed(picture)[0] for picture in textures(3, network.input_size)])
        return {"feature": features if network._torch is None else np.roll(features, 1, axis=1)}

    monkeypatch.setattr(device_parity, "_outputs", outputs)
    monkeypatch.setattr(
        device_parity, "make_private_folder", lambda _folder: pytest.fail("nothing is to be remembered")
    )
    with pytest.raises(DeviceUnusable, match="too differently for mixing"):
        check_agreement(tiny, TORCH, cache)


def test_the_cpu_agrees_with_itself(measured: Callable[..., list[str]], tiny: ConvertedModel, tmp_path: Path) -> None:
    asked = measured(feature=0.0)
    check_agreement(tiny, Device.parse(CPU), tmp_path)
    assert asked == []
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_takes_no_notes_is_no_obstacle(
    measured: Callable[..., list[str]], tiny: ConvertedModel, tmp_path: Path
) -> None:
    (tmp_path / "agreement").write_text("no folder can be made here")
    asked = measured(feature=0.99)
    check_agreement(tiny, TORCH, tmp_path)
    check_agreement(tiny, TORCH, tmp_path)
    assert len(asked) == 2


def test_a_gpu_agrees_with_openvino(gpu: str, cache: Path) -> None:
    device = Device.parse(gpu)
    device.check()
    check_agreement(converted_model(find_model(DEFAULT_MODEL), cache), device, cache)
