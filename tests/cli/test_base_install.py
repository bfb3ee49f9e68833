"""The main job with the base installation, which has neither torch nor timm.

Contract: ``init``, ``add``, ``search``, ``oss-import`` and ``eval`` work with the default model, on features of this
version and of the one before; what needs more says which ``pip install`` brings it, and changes nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from imgsearch.vision.models import DEFAULT_MODEL
from tests.conftest import ROOT
from tests.oss_shop import copy_samples, line

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Result, Run
    from tests.oss_shop import Shop

pytestmark = pytest.mark.networks

WITHOUT = ("torch", "torchvision", "timm", "huggingface_hub", "sympy", "scipy", "onnx")
"""What no process is to find, child processes included."""
BLOCKER = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {WITHOUT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


@pytest.fixture(scope="module")
def blocker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH that takes these packages away."""
    folder = tmp_path_factory.mktemp("blocker")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return folder


@pytest.fixture
def environment(blocker: Path, tmp_path: Path) -> dict[str, str]:
    """Without these packages, and with a cache that nothing was prepared in."""
    return {"PYTHONPATH": f"{blocker}:{ROOT}", "IMGSEARCH_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def base(run: Run, environment: dict[str, str]) -> Run:
    """Run the command line so."""
    return partial(run, env=environment)


def test_the_packages_are_taken_away(environment: dict[str, str]) -> None:
    for name in ("torch", "timm"):
        words = [sys.executable, "-P", "-c", f"import {name}"]
        result = subprocess.run(words, env=environment, capture_output=True, check=False)
        assert b"ModuleNotFoundError" in result.stderr


@pytest.mark.extended
def test_the_main_job(base: Run, folder: Path, catalogue: Path, tmp_path: Path) -> None:
    """All networks are told of once, in one line, whatever comes later."""
    assert base("init").returncode == 0
    added = base("add", catalogue, "--product-from", "parent")
    assert added.returncode == 0, added.stderr
    assert added.document["Added"] == 12
    told = [line for line in added.stderr.splitlines() if "Preparing" in line]
    assert len(told) == 1
    assert DEFAULT_MODEL in told[0]
    found = base("search", catalogue / "0003.jpg")
    assert found.document["Auctions"][0]["PicName"] == "0003.jpg"
    assert "Preparing" not in found.stderr
    labelled = tmp_path / "labelled"
    for number in range(1, 9):
        (labelled / f"p{number % 4}").mkdir(parents=True, exist_ok=True)
        shutil.copy(catalogue / f"{number:04}.jpg", labelled / f"p{number % 4}")
    measured = base("eval", labelled)
    assert measured.returncode == 0, measured.stderr
    assert measured.document["Success"]


@pytest.mark.extended
def test_an_import_from_oss(shop: Shop, environment: dict[str, str], folder: Path) -> None:
    names = copy_samples(shop.folder, 4)
    shop.write([line(name) for name in names])
    shop.environment.update(environment)
    result = shop.run(folder)
    assert result.returncode == 0, result.stderr
    assert result.document["Added"] == 4


@pytest.mark.extended
def test_older_features_of_the_default_model(base: Run, catalogue: Path, tmp_path: Path) -> None:
    """An instance of version 2 is searched and added to."""
    code = (
        "import sys; from dataclasses import replace; from pathlib import Path; from imgsearch import Instance; "
        "from imgsearch.vision import models; name = models.DEFAULT_MODEL; "
        "models.EMBEDDED_MODELS[name] = replace(models.EMBEDDED_MODELS[name], feature_version=2); "
        "Instance.create(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "older"], check=True)
    assert base("add", catalogue, "-i", tmp_path / "older").document["Added"] == 12
    found = base("search", catalogue / "0005.jpg", "-i", tmp_path / "older").document
    assert found["Auctions"][0]["PicName"] == "0005.jpg"
    assert base("info", "-i", tmp_path / "older").document["NeedsReindex"]


def refused(result: Result, exit_code: int, extra: str) -> dict[str, Any]:
    assert result.returncode == exit_code, result.stderr
    assert f"pip install 'imgsearch-local[{extra}]'" in result.stderr
    assert "torch and timm" in result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.extended
def test_what_needs_more_says_what_to_install(base: Run, folder: Path, catalogue: Path, tmp_path: Path) -> None:
    weights = tmp_path / "resnet18.pth"
    weights.write_bytes(b"weights")
    for command in (("init",), ("add", catalogue), ("eval", catalogue.parent)):
        words = [*command, "--model", "resnet18", "--weights", weights, "--format", "json"]
        assert not refused(base(*words), 3, "models")["Success"]
    assert not folder.exists() or not any(folder.iterdir())
    refused(base("add", catalogue, "--device", "cuda", "--format", "json"), 2, "cuda")
    states = {model["Name"]: model["AtHand"] for model in base("models").document["Models"]}
    assert states[DEFAULT_MODEL] == "installed"
    assert "needs imgsearch-local[models]" in states.values()


@pytest.mark.extended
def test_preparing_at_another_time(base: Run, catalogue: Path, tmp_path: Path) -> None:
    """For images of containers and for cron: no instance is needed, none is made, and nothing is left to prepare."""
    prepared = base("init", "--prepare")
    assert prepared.returncode == 0, prepared.stderr
    assert prepared.document == {
        "Success": True,
        "Model": DEFAULT_MODEL,
        "Cache": str(tmp_path / "cache"),
        "Seconds": prepared.document["Seconds"],
    }
    assert [line for line in prepared.stderr.splitlines() if "Preparing" in line]
    assert not (tmp_path / "instance").exists()
    again = base("init", "--prepare", "--format", "paths")
    assert (again.stdout.strip(), again.stderr) == (str(tmp_path / "cache"), "")

    def compiled() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.blob")}

    before = compiled()
    assert "Preparing" not in base("add", catalogue).stderr
    assert base("search", catalogue / "0001.jpg").returncode == 0
    assert compiled() == before, "nor anything to be compiled"


@pytest.mark.extended
def test_preparing_an_instance_s_networks(base: Run, folder: Path, tmp_path: Path) -> None:
    assert base("init", "--model", "efficientnet-lite0").returncode == 0
    assert base("init", "--prepare", "-i", folder).document["Model"] == "efficientnet-lite0"
    missing = base("init", "--prepare", "-i", tmp_path / "none")
    assert missing.returncode == 4
    both = base("init", "--prepare", "-i", folder, "--model", DEFAULT_MODEL)
    assert both.returncode == 2
    assert "--prepare" in both.stderr
