"""``--device``: refused with a reason before anything is done, or nothing but the speed shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, Run
from tests.oss_shop import Shop
from tests.torch_on_cpu import TORCH

pytestmark = [pytest.mark.extended, pytest.mark.networks]

ODD_NAMES = ["gpu", "cuda:", "CUDA:0", "cpu:1", ""]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_is_none(run: Run, folder: Path, catalogue: Path, name: str) -> None:
    result = run("add", catalogue, "--device", name, "--format", "json")
    assert (result.returncode, result.document["Code"]) == (2, "BadRequest")
    assert result.document["Message"].startswith(f"{name!r} is no device: the networks run on cpu, cuda, or cuda:N")
    assert not folder.exists()


def test_no_gpu(run: Run, folder: Path, catalogue: Path, no_gpu: None) -> None:
    """Torch without CUDA, or no driver: the message says which, on one line, and the way out."""
    result = run("add", catalogue, "--device", "cuda", "--format", "json")
    assert (result.returncode, result.document["Code"]) == (2, "BadRequest")
    assert "cuda needs a" in result.document["Message"]
    assert "leave out --device" in result.document["Message"]
    assert len(result.stderr.splitlines()) == 1
    assert not folder.exists()


def test_no_gpu_for_an_import(shop: Shop, tmp_path: Path, no_gpu: None) -> None:
    """Before anything is asked of the storage."""
    result = shop.run(tmp_path / "instance", "--device", "cuda")
    assert result.returncode == 2
    assert "cuda needs a" in result.document["Message"]
    assert not (tmp_path / "instance").exists()
    assert shop.server.connections == 0


def test_a_picture_added_with_torch_finds_itself(run: Run, catalogue: Path) -> None:
    """Torch on the CPU, which --help does not offer, stands for a GPU."""
    added = run("add", catalogue, "--device", TORCH.name, "--format", "json")
    assert (added.returncode, added.document["Added"]) == (0, 12)
    again = run("add", catalogue, "--device", TORCH.name, "--format", "json")
    assert again.document["Unchanged"] == 12
    assert again.stderr == ""
    assert run("info", "--format", "json").document["Devices"] == [TORCH.label]
    assert TORCH.label in run("info", "--format", "table").stdout
    queries = sorted(catalogue.iterdir())
    for query, answer in zip(queries, run("search", *queries, "-n", "1", "--format", "json").lines, strict=True):
        (hit,) = answer["Auctions"]
        assert (hit["PicName"], hit["Score"]) == (query.name, 1.0)
        assert hit["SortExprValues"] == "7.33136443711219e+24;0"


def test_the_cpu_is_the_default(run: Run) -> None:
    path = ROOT / "sample_data" / "queries" / "mug-red.jpg"
    assert run("add", path, "--device", "cpu", "--format", "json").document["Added"] == 1
    assert run("add", path, "--format", "json").document["Unchanged"] == 1
    assert run("info", "--format", "json").document["Devices"] == ["cpu (openvino)"]


def test_help_offers_gpus(run: Run) -> None:
    for name in ("add", "oss-import"):
        assert "--device" in run(name, "--help", env={"COLUMNS": "120"}).stdout
