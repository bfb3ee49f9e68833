"""What the base installation leaves out.

Contract: packages that are missing are named without importing any; each extra that a message names is in the package's
metadata, with what is missing in it.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.util import find_spec

import pytest

from imgsearch.vision import extras
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_what_is_installed_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras.missing_packages() == [name for name in extras.PACKAGES if find_spec(name) is None]
    monkeypatch.setattr(extras, "PACKAGES", ("sys", "no_such_package"))
    assert extras.missing_packages() == ["no_such_package"]


def test_nothing_is_imported_for_asking() -> None:
    code = (
        "import sys; from imgsearch.vision.extras import missing_packages as m; m(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_extra_for_heic_brings_its_decoder() -> None:
    (requirement,) = PROJECT["optional-dependencies"][extras.HEIF_EXTRA]
    assert requirement.startswith("pillow-heif")
    assert f"{PROJECT['name']}[{extras.HEIF_EXTRA}]" in extras.pip_install(extras.HEIF_EXTRA)


@pytest.mark.parametrize("extra", [extras.MODELS_EXTRA, extras.CUDA_EXTRA])
def test_each_extra_brings_what_is_missing(extra: str) -> None:
    brought = PROJECT["optional-dependencies"][extra]
    for package in extras.PACKAGES:
        assert any(requirement.startswith(package) for requirement in brought)
        assert not any(requirement.startswith(package) for requirement in PROJECT["dependencies"])
    assert f"{PROJECT['name']}[{extra}]" in extras.pip_install(extra)
