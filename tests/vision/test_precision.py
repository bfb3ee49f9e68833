"""``IMGSEARCH_PRECISION``: every network on the CPU calculates in what it names, or the command says why not.

Contract: unset, OpenVINO chooses; what cannot be had is refused in words, never replaced; what one precision has left
in the cache of compiled networks does not change the numbers of the other.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.errors import DeviceUnusable, UsageError
from imgsearch.vision.device_parity import LEAST_COSINE, cosines, textures
from imgsearch.vision.devices import CPU, Device
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDER, find_model
from imgsearch.vision.openvino_compat import load_openvino
from imgsearch.vision.openvino_export import ConvertedModel, converted_model
from imgsearch.vision.precision import (
    BF16,
    F32,
    PRECISIONS,
    VARIABLE,
    asked_precision,
    check_precision,
    has_bfloat16,
)
from imgsearch.vision.runtime import Network
from tests.conftest import ROOT, Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.networks

PICTURE = ROOT / "sample_data" / "queries" / "mug-red.jpg"


@pytest.fixture
def both() -> None:
    """For what compares the two."""
    if not has_bfloat16():
        pytest.skip("this processor has no bfloat16: it calculates in float32 only")


@pytest.fixture
def without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without it, as OpenVINO tells of one."""

    class Core:
        def get_property(self, _device: str, name: str) -> list[str]:
            assert name == "OPTIMIZATION_CAPABILITIES"
            return ["WINOGRAD", "FP32", "INT8", "BIN", "EXPORT_IMPORT"]

    monkeypatch.setattr(load_openvino(), "Core", Core)


@pytest.mark.parametrize(("value", "asked"), [(None, None), ("", None), ("f32", "f32"), ("bf16", "bf16")])
def test_names(value: str | None, asked: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, value)
    assert asked_precision() == asked


@pytest.mark.parametrize("value", ["fp32", "F32", "f16", " f32", "bf16\n", "auto"])
def test_other_names_are_wrong_usage(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(UsageError, match=r"^IMGSEARCH_PRECISION is .*: give f32 or bf16, or unset it") as raised:
        Device.parse(CPU).check()
    assert raised.value.exit_code == 2
    assert len(raised.value.message.splitlines()) == 1


@pytest.mark.usefixtures("without_bfloat16")
def test_a_processor_without_bfloat16_says_so(
    tiny: ConvertedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, BF16)
    for attempt in (
        check_precision,
        Device.parse(CPU).check,
        lambda: Network(tiny, cache, parallel=False).load(EMBEDDER),
    ):
        with pytest.raises(DeviceUnusable, match=r"this processor has no bfloat16: give f32, or unset it") as raised:
            attempt()
        assert raised.value.exit_code == 2
    monkeypatch.setenv(VARIABLE, F32)
    assert check_precision() == F32


def test_commands_refuse_before_they_do_anything(run: Run, folder: Path) -> None:
    result = run("add", PICTURE, "--format", "json", env={VARIABLE: "half"})
    assert (result.returncode, result.document["Code"]) == (2, "BadRequest")
    assert result.document["Message"].startswith("IMGSEARCH_PRECISION is 'half': give f32 or bf16")
    assert len(result.stderr.splitlines()) == 1
    assert not folder.exists()


@pytest.mark.extended
def test_searches_refuse_too(run: Run) -> None:
    """A single one and one of many, whose networks are loaded in threads."""
    assert run("add", PICTURE).returncode == 0
    for queries in ([PICTURE], [PICTURE, PICTURE]):
        result = run("search", *queries, "--format", "json", env={VARIABLE: "half"})
        assert result.returncode == 2
        assert "IMGSEARCH_PRECISION is 'half'" in result.document["Message"]


@pytest.mark.extended
def test_a_search_in_either(run: Run) -> None:
    """An instance does not mind what its features were calculated in: an unchanged picture stays and finds itself."""
    usable = [name for name in PRECISIONS if name == F32 or has_bfloat16()]
    for name in usable:
        added = run("add", PICTURE, "--format", "json", env={VARIABLE: name})
        assert (added.returncode, added.document["Added"] + added.document["Unchanged"]) == (0, 1)
    for name in usable:
        (hit,) = run("search", PICTURE, "--format", "json", env={VARIABLE: name}).document["Auctions"]
        assert (hit["PicName"], hit["Score"]) == (PICTURE.name, 1.0)


def embedded(model: ConvertedModel, cache: Path, pixels: Sequence[np.ndarray]) -> np.ndarray:
    network = Network(model, cache, parallel=False)
    return np.stack([network.embed(one)[0] for one in pixels])


@pytest.mark.extended
@pytest.mark.usefixtures("both")
def test_each_is_what_networks_calculate_in(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near each other and not the same: on these pictures, 0.995 is the least cosine between the two."""
    model = converted_model(find_model(DEFAULT_MODEL), cache)
    pixels = textures(4, model.record.input_size)
    made = {}
    for name in ("", *PRECISIONS):
        monkeypatch.setenv(VARIABLE, name)
        made[name] = embedded(model, cache, pixels)
    assert (made[F32] != made[BF16]).any(axis=1).all()
    assert np.array_equal(made[""], made[BF16])
    assert cosines(made[F32], made[BF16]).min() >= LEAST_COSINE


@pytest.mark.extended
@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("order", [("", F32, BF16), (F32, BF16, ""), (BF16, "", F32)])
def test_the_cache_of_compiled_networks_keeps_them_apart(
    order: tuple[str, ...], tiny: ConvertedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever filled it first, and also when all are loaded from it."""
    pixels = textures(1, tiny.record.input_size)

    def own(name: str) -> ConvertedModel:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(tiny.folder, folder, ignore=shutil.ignore_patterns("compiled*"))
        return ConvertedModel(folder, tiny.record)

    for name in (*order, *order):
        monkeypatch.setenv(VARIABLE, name)
        shared = embedded(own("shared"), tmp_path, pixels)
        assert np.array_equal(shared, embedded(own(f"only-{name}"), tmp_path, pixels))
    assert len([path for path in (tmp_path / "shared").glob("compiled*") if path.is_dir()]) == 3


def test_what_numbers_depend_on_tells_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a device that was compared with the CPU in one is compared again in the other."""
    told = set()
    for name in ("", *PRECISIONS):
        monkeypatch.setenv(VARIABLE, name)
        told.add(Device.parse(CPU).description())
    assert len(told) == 3


def test_a_precision_is_checked_without_openvino_where_that_is_not_needed() -> None:
    code = (
        "import os, sys; from imgsearch.vision.devices import Device; "
        "[os.environ.update(IMGSEARCH_PRECISION=name) or Device.parse('cpu').check() for name in ('', 'f32')]; "
        "assert 'openvino' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
