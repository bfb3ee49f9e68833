"""What OpenVINO is told, and where it keeps what it compiles.

Contract: a folder holds what one path and one precision give. OpenVINO's own names tell paths apart and nothing else.
"""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imgsearch.vision.compile_settings import COMPILED, compile_settings, is_compiled
from imgsearch.vision.precision import BF16, F32
from imgsearch.vision.runtime import Graph

if TYPE_CHECKING:
    from imgsearch.vision.openvino_export import ConvertedModel

MODEL = Path("/cache/models/one/model.xml")


def test_each_precision_has_a_folder_of_its_own_beside_the_model() -> None:
    folders = {
        Path(compile_settings(MODEL, precision, cores=2, parallel=False)["CACHE_DIR"])
        for precision in (None, F32, BF16)
    }
    assert len(folders) == 3
    assert all(folder.parent == MODEL.parent and folder.name.startswith(COMPILED) for folder in folders)


def test_cores_and_streams_share_what_is_compiled() -> None:
    """OpenVINO gives it the same name, and writes it once."""
    folders = {
        compile_settings(MODEL, None, cores=cores, parallel=parallel)["CACHE_DIR"]
        for cores, parallel in product((2, 4), (True, False))
    }
    assert len(folders) == 1


@pytest.mark.extended
@pytest.mark.networks
def test_a_path_has_a_folder_as_openvino_has_a_name_for_it(
    tiny: ConvertedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry by several paths, as of links, mounts and moved caches; nothing is written into a folder of another."""
    entry = tmp_path / "entry"
    shutil.copytree(tiny.folder, entry, ignore=shutil.ignore_patterns("compiled*"))
    (tmp_path / "link").symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    for times in (1, 2):
        for folder in (entry, tmp_path / "link", Path("entry"), Path("link"), tmp_path / "link" / ".." / "entry"):
            Graph(folder / "model.xml", parallel=times == 1)
    shutil.move(entry, tmp_path / "moved")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("moved")
    for folder in (tmp_path / "link", Path("link"), tmp_path / "moved"):
        Graph(folder / "model.xml", parallel=True)
    kept = [path for path in (tmp_path / "moved").iterdir() if path.is_dir()]
    assert len(kept) == 8
    assert [len(list(folder.iterdir())) for folder in kept] == [1] * 8


@pytest.mark.parametrize("folder", ["", ".", "/", "a\0", "a" * 5_000, "compiled", "/tmp"])
def test_nothing_is_compiled_in_other_folders(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_compiled({"CACHE_DIR": folder})


def test_parallel_pictures_have_a_core_each() -> None:
    assert compile_settings(MODEL, None, cores=4, parallel=True)["NUM_STREAMS"] == "4"
    alone = compile_settings(MODEL, F32, cores=4, parallel=False)
    assert (alone["NUM_STREAMS"], alone["INFERENCE_NUM_THREADS"]) == ("1", "4")
    assert alone["INFERENCE_PRECISION_HINT"] == F32
