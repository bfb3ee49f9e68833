"""``IMGSEARCH_PRECISION``: every network on the CPU calculates in what it names, or the command says why not.

Contract: unset, it is the quickest that the processor has; what cannot be had is refused in words, never replaced; what
one precision has left in the cache of compiled networks does not change the numbers of another.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.errors import DeviceUnusable, UsageError
from imgsearch.vision import precision
from imgsearch.vision.device_parity import LEAST_COSINE, cosines, textures
from imgsearch.vision.devices import CPU, Device
from imgsearch.vision.limits import LIMIT_PROFILES
from imgsearch.vision.models import CATEGORISER, DEFAULT_MODEL, EMBEDDER, LOCATOR, find_model
from imgsearch.vision.openvino_compat import load_openvino
from imgsearch.vision.openvino_export import ConvertedModel, converted_model
from imgsearch.vision.picture import OpenPicture
from imgsearch.vision.precision import (
    BF16,
    F32,
    INT8,
    PRECISIONS,
    VARIABLE,
    asked_precision,
    check_precision,
    has_bfloat16,
    has_vnni,
    usable_precisions,
    uses_int8,
)
from imgsearch.vision.runtime import Network
from tests.conftest import ROOT, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.networks

PICTURE = ROOT / "sample_data" / "queries" / "mug-red.jpg"


@pytest.fixture
def both() -> None:
    """For what compares the two."""
    if not has_bfloat16():
        pytest.skip("this processor has no bfloat16: it calculates in float32 only")


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file in which Linux tells of a processor; a test writes it."""
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "PROCESSOR", file)
    has_vnni.cache_clear()
    yield file
    has_vnni.cache_clear()


@pytest.fixture
def without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without it, as OpenVINO tells of one."""

    class Core:
        def get_property(self, _device: str, name: str) -> list[str]:
            assert name == "OPTIMIZATION_CAPABILITIES"
            return ["WINOGRAD", "FP32", "INT8", "BIN", "EXPORT_IMPORT"]

    monkeypatch.setattr(load_openvino(), "Core", Core)


@pytest.mark.parametrize(("value", "asked"), [(None, None), ("", None), *((name, name) for name in PRECISIONS)])
def test_names(value: str | None, asked: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, value)
    assert asked_precision() == asked


@pytest.mark.parametrize("value", ["fp32", "F32", "f16", " f32", "bf16\n", "auto", "i8", "INT8"])
def test_other_names_are_wrong_usage(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(UsageError, match=r"^IMGSEARCH_PRECISION is .*: give f32, bf16 or int8, or unset it") as raised:
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


@pytest.mark.parametrize(
    ("told", "has"),
    [
        ("flags\t\t: fpu sse avx512f avx512_vnni amx_int8\n", True),
        ("processor: 0\nflags\t\t: fpu avx2 avx_vnni\nprocessor: 1\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512bw\nmodel name: avx512_vnni\n", False),
        ("Features\t: fp asimd asimddp\n", False),
        ("", False),
        (None, False),
    ],
)
def test_which_processors_are_made_for_int8(
    told: str | None, has: bool, processor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those calculate in it, by themselves or when asked; elsewhere its sums overflow."""
    if told is not None:
        processor.write_text(told)
    assert has_vnni() == has
    assert (INT8 in usable_precisions()) == has
    monkeypatch.delenv(VARIABLE, raising=False)
    assert uses_int8() == has
    monkeypatch.setenv(VARIABLE, F32)
    assert not uses_int8()
    monkeypatch.setenv(VARIABLE, INT8)
    if has:
        assert (check_precision(), uses_int8()) == (INT8, True)
    else:
        with pytest.raises(DeviceUnusable, match=r"this processor has no VNNI: give f32, or unset it"):
            check_precision()


def test_commands_refuse_before_they_do_anything(run: Run, folder: Path) -> None:
    result = run("add", PICTURE, "--format", "json", env={VARIABLE: "half"})
    assert (result.returncode, result.document["Code"]) == (2, "BadRequest")
    assert result.document["Message"].startswith("IMGSEARCH_PRECISION is 'half': give f32, bf16 or int8")
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
    usable = usable_precisions()
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
    """Near each other and not the same: on these pictures, 0.989 is the least cosine between two."""
    model = converted_model(find_model(DEFAULT_MODEL), cache)
    pixels = textures(4, model.record.input_size)
    made = {}
    usable = usable_precisions()
    for name in ("", *usable):
        monkeypatch.setenv(VARIABLE, name)
        made[name] = embedded(model, cache, pixels)
    assert np.array_equal(made[""], made[usable[0]])
    for one, other in combinations(usable, 2):
        assert (made[one] != made[other]).any(axis=1).all()
        assert cosines(made[one], made[other]).min() >= LEAST_COSINE


@pytest.mark.extended
@pytest.mark.parametrize("purpose", [EMBEDDER, LOCATOR, CATEGORISER])
def test_int8_is_what_most_convolutions_calculate_in(purpose: str, cache: Path) -> None:
    """By what OpenVINO says of the compiled graph: all but those whose accuracy costs the most."""
    if not has_vnni():
        pytest.skip("this processor has no VNNI")
    default = find_model(DEFAULT_MODEL)
    record = {EMBEDDER: default, LOCATOR: default.locator(), CATEGORISER: default.categoriser()}[purpose]
    model = converted_model(record, cache)
    assert model.int8_path is not None
    compiled = load_openvino().Core().compile_model(str(model.int8_path), "CPU")
    told = [
        str(node.get_rt_info()["runtimePrecision"].astype(str))
        for node in compiled.get_runtime_model().get_ops()
        if "Convolution" in node.get_rt_info()["layerType"].astype(str)
    ]
    in_bytes = sum(one in {"u8", "i8"} for one in told)
    # Of each network, the first two convolutions and the one of a block; and the decoder that finds subjects.
    assert len(told) - in_bytes == {EMBEDDER: 7, LOCATOR: 22, CATEGORISER: 3}[purpose]
    assert in_bytes >= 46


@pytest.mark.extended
def test_int8_is_near_float32_on_pictures_of_products(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So near that an instance may hold both: as near as a device has to be to the processor."""
    if not has_vnni():
        pytest.skip("this processor has no VNNI")
    model = converted_model(find_model(DEFAULT_MODEL), cache)
    size = model.record.input_size
    pixels = []
    for file in sorted((ROOT / "sample_data" / "catalogue").rglob("*.jpg"))[::6]:
        picture = OpenPicture(file.read_bytes(), LIMIT_PROFILES["local"])
        pixels.append(picture.decode(picture.whole, size))
    made = []
    for name in (INT8, F32):
        monkeypatch.setenv(VARIABLE, name)
        made.append(embedded(model, cache, pixels))
    assert len(pixels) > 10
    assert cosines(*made).min() >= LEAST_COSINE


@pytest.mark.extended
def test_models_without_int8_stay_as_they_are(
    tiny: ConvertedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is built here has such a graph; the others calculate in the processor's own precision."""
    if not has_vnni():
        pytest.skip("this processor has no VNNI")
    assert tiny.int8_path is None
    pixels = textures(1, tiny.record.input_size)
    made = {}
    for name in (INT8, BF16 if has_bfloat16() else F32):
        monkeypatch.setenv(VARIABLE, name)
        made[name] = embedded(tiny, tmp_path, pixels)
    first, second = made.values()
    assert np.array_equal(first, second)


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
    usable = usable_precisions()
    for name in ("", *usable):
        monkeypatch.setenv(VARIABLE, name)
        told.add(Device.parse(CPU).description())
    assert len(told) == 1 + len(usable)


def test_a_precision_is_checked_without_openvino_where_that_is_not_needed() -> None:
    code = (
        "import os, sys; from imgsearch.vision.devices import Device; "
        "[os.environ.update(IMGSEARCH_PRECISION=name) or Device.parse('cpu').check() for name in ('', 'f32')]; "
        "assert 'openvino' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
