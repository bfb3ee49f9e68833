"""Names of devices, and what is said of one that cannot be used.

Contract: a name that is none is wrong usage; a device that is not there says what is missing and the way out; of torch
nothing is imported for the CPU.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import pytest
import torch

from imgsearch.errors import DeviceUnusable, UsageError
from imgsearch.vision.devices import CPU, Device

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "torch_name", "label"),
    [
        ("cpu", None, "cpu (openvino)"),
        ("torch:cpu", "cpu", "torch cpu (f32)"),
        ("torch:cpu+bf16", "cpu", "torch cpu (bf16)"),
    ],
)
def test_devices_that_are_always_there(name: str, torch_name: str | None, label: str) -> None:
    device = Device.parse(name)
    device.check()
    assert (device.torch_name, device.label, device.is_torch) == (torch_name, label, torch_name is not None)
    assert not device.is_cuda


@pytest.mark.parametrize(("name", "torch_name"), [("cuda", "cuda"), ("cuda:1", "cuda:1"), ("torch:mps", "mps")])
def test_devices_need_not_be_there_to_have_a_name(name: str, torch_name: str) -> None:
    assert Device.parse(name).torch_name == torch_name


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:1234", "cpu:0", " cpu", "cpu\n"]
)
def test_other_names_are_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError, match="is no device: the networks run on cpu, cuda, or cuda:N"):
        Device.parse(name)


def test_what_numbers_depend_on_is_told() -> None:
    assert "OpenVINO" in Device.parse(CPU).description()
    told = {Device.parse(name).description() for name in ("torch:cpu", "torch:cpu+bf16")}
    assert len(told) == 2
    assert all(torch.__version__ in one for one in told)


def refused(name: str) -> str:
    with pytest.raises(DeviceUnusable) as raised:
        Device.parse(name).check()
    assert raised.value.exit_code == 2
    assert raised.value.message.endswith("leave out --device to use the CPU")
    return raised.value.message


def no_driver() -> bool:
    warnings.warn("The NVIDIA driver on your system is too old.\nUpdate it.", UserWarning, stacklevel=1)
    return False


@pytest.mark.parametrize(
    ("name", "built", "available", "count", "said"),
    [
        ("cuda", False, lambda: False, 0, "a torch that is built with CUDA"),
        ("cuda", True, lambda: False, 0, "torch finds none: see whether 'nvidia-smi' lists one"),
        ("cuda", True, no_driver, 0, "torch finds none (The NVIDIA driver on your system is too old.): see"),
        ("cuda:1", True, lambda: True, 1, "there is no cuda:1, only cuda:0: name another one"),
        ("cuda:2", True, lambda: True, 2, "there is no cuda:2, only cuda:0 to cuda:1: name another one"),
    ],
)
def test_a_gpu_that_is_not_there(
    name: str, built: bool, available: Callable[[], bool], count: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    monkeypatch.setattr(torch.cuda, "is_available", available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert said in refused(name)


def test_a_device_that_is_listed_and_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nMore lines.")

    monkeypatch.setattr(torch, "ones", fail)
    assert "torch:cpu does not work (CUDA error: no kernel image is available" in refused("torch:cpu")


def test_another_device_of_torch_that_is_not_there() -> None:
    assert refused("torch:nonsense").startswith("torch:nonsense does not work (")


def test_torch_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "needs torch, which is not installed: pip install 'imgsearch-local[cuda]'" in refused("cuda")


def test_torch_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('a library of it is missing')")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.syspath_prepend(tmp_path)
    assert "needs torch, which cannot be imported (a library of it is missing)" in refused("cuda")


def test_a_gpu_works(gpu: str) -> None:
    device = Device.parse(gpu)
    device.check()
    assert device.is_cuda
    assert device.label in ("cuda (bf16)", "cuda (f32)")
    assert torch.cuda.get_device_name() in device.description()
    refused(f"cuda:{torch.cuda.device_count()}")


def test_the_cpu_needs_nothing_of_torch() -> None:
    code = (
        "import sys; from imgsearch.vision.devices import Device; device = Device.parse('cpu'); device.check(); "
        "device.label, device.description(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
