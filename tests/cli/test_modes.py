"""What commands write where an option says so: the owner's alone when it is made, as it was where it was there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from imgsearch.cli import contact_sheet
from imgsearch.cli.errors import reporting
from imgsearch.cli.run_log import opened_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imgsearch.instance import Instance
from imgsearch.vision.models import find_model
from imgsearch.vision.openvino_export import prepared_models

pytestmark = pytest.mark.skipif(os.name == "nt", reason="this system's files have no such modes")


@pytest.fixture(autouse=True, params=[0o000, 0o022], ids=lambda mask: f"umask {mask:03o}")
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def write_text(path: Path, _instance: Instance) -> None:
    with opened_text(path, "w", "--report") as file:
        file.write("a line")


def write_sheet(path: Path, instance: Instance) -> None:
    contact_sheet.write(path, [], instance)


@pytest.mark.parametrize("write", [write_text, write_sheet])
@pytest.mark.parametrize("before", [None, 0o644])
def test_a_named_file(
    write: Callable[[Path, Instance], None], before: int | None, tmp_path: Path, instance: Instance
) -> None:
    path = tmp_path / "named"
    if before is not None:
        path.write_text("old")
        path.chmod(before)
    write(path, instance)
    assert path.read_text() not in ("", "old")
    assert path.stat().st_mode & 0o777 == (before or 0o600)


def test_the_log_of_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace may name pictures and folders."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def broken() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(Exception, match="70"):
        reporting(broken)()
    (log,) = tmp_path.rglob("*.log")
    assert "a bug" in log.read_text()
    made = [log, *(folder for folder in log.parents if folder.is_relative_to(tmp_path / "state"))]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o600, *[0o700] * (len(made) - 1)]


@pytest.mark.extended
def test_the_model_cache_follows_the_umask(tmp_path: Path) -> None:
    """Networks are no secret: a cache that root has warmed for a container image is there for its users."""
    mask = os.umask(0)
    os.umask(mask)
    model = prepared_models(find_model("efficientnet-lite0"), tmp_path / "new" / "cache")
    made = [model.folder, *list(model.folder.parents)[:3], *model.folder.iterdir()]
    for path in made:
        wanted = 0o777 if path.is_dir() else 0o666
        assert path.stat().st_mode & 0o777 == wanted & ~mask, path
