"""An instance on a network file system: whoever writes it is warned, on stderr and once."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import pytest

from imgsearch.storage.sqlite.schema import FORMAT_VERSION
from tests.cli.in_process import invoke
from tests.conftest import ROOT
from tests.oss_server import KEY_ID, SECRET
from tests.oss_shop import ADDRESS, Shop

SAMPLE = ROOT / "tests" / "formats" / str(FORMAT_VERSION) / "instance"


def private_copy(target: Path) -> Path:
    """An instance with the modes that the program gives it, of which a checkout knows nothing."""
    shutil.copytree(SAMPLE, target)
    for path in target.iterdir():
        path.chmod(0o600)
    target.chmod(0o700)
    return target


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an instance, of which the kernel says that it comes from another machine."""
    folder = private_copy(tmp_path / "net" / "instance")
    mounts = tmp_path / "proc" / "self" / "mounts"
    mounts.parent.mkdir(parents=True)
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/ {tmp_path}/net nfs4 rw 0 0\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["add", "-"],  # an empty list
        ["delete", "p1"],
        ["delete", "--filter", "int_attr=2"],
        ["rebuild"],
        ["check", "--repair"],
    ],
    ids=" ".join,
)
def test_writing_there_warns_once(shared: Path, command: list[str]) -> None:
    result = invoke(*command, "--instance", shared, "--format", "json")
    assert result.returncode == 0, result.stderr
    assert result.document["Success"] is True
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"imgsearch: {shared} is on a file system of type nfs4")
    assert "keep it on a local disk" in line


def test_making_one_there_warns(shared: Path) -> None:
    """Also quietly, as not all is well."""
    result = invoke("init", "--instance", shared.parent / "new", "--format", "json")
    assert (result.returncode, result.stderr.count("nfs4")) == (0, 1)
    result = invoke("add", "-", "-q", "--instance", shared.parent / "newer", "--format", "json")
    assert (result.returncode, result.stderr.count("nfs4")) == (0, 1)


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=str)
def test_an_import_there_warns_once(shared: Path, shop: Shop, options: list[str]) -> None:
    """Unless it only says what it would do."""
    shop.write([{"OperationType": "DELETE", "ProductId": "p1"}])
    words = ["oss-import", ADDRESS, "--instance", shared, "--format", "json", *options]
    keys = {"OSS_ACCESS_KEY_ID": KEY_ID, "OSS_ACCESS_KEY_SECRET": SECRET}  # the vendor's own are read at its import
    environment = {**shop.server.environment(), **shop.environment, **keys}
    result = invoke(*words, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("nfs4") == (0 if options else 1)


@pytest.mark.parametrize(
    "command",
    [
        ["search", "--product-id", "p1", "--pic-name", "1.jpg"],
        ["info"],
        ["check", "--read-data"],
        ["delete", "p1", "--dry-run"],
    ],
    ids=" ".join,
)
def test_reading_there_does_not(shared: Path, command: list[str]) -> None:
    result = invoke(*command, "--instance", shared, "--format", "json")
    assert (result.returncode, result.stderr) == (0, "")


def test_writing_elsewhere_does_not(shared: Path, tmp_path: Path) -> None:
    local = private_copy(tmp_path / "local")
    result = invoke("rebuild", "--instance", local, "--format", "json")
    assert (result.returncode, result.stderr) == (0, "")
