"""``export`` and ``import`` as commands: documents, formats and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imgsearch.transfer.file_format import ITEMS_NAME
from tests.conftest import Run
from tests.transfer.test_file_format import everything, export, make, stored


@pytest.fixture
def source(folder: Path) -> Path:
    return make(folder, everything())


def test_out_and_in(tmp_path: Path, run: Run, source: Path) -> None:
    done = run("export", tmp_path / "out")
    assert done.returncode == 0
    assert {key: done.document[key] for key in ("Success", "Items")} == {"Success": True, "Items": 60}
    assert [Path(name).name for name in done.document["Files"]] == ["items.jsonl", "features.npy", "stamp.json"]
    assert done.document["Bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    make(tmp_path / "to", [])
    taken = run("import", "-i", tmp_path / "to", tmp_path / "out")
    assert (taken.returncode, taken.document["Added"]) == (0, 60)
    assert stored(tmp_path / "to") == stored(source)
    again = run("import", "-i", tmp_path / "to", tmp_path / "out", "--format", "jsonl")
    assert again.lines[0]["Status"] == "unchanged"
    assert again.lines[-1]["Unchanged"] == 60


def test_other_formats(tmp_path: Path, run: Run, source: Path) -> None:
    assert "Exported 60 items" in run("export", tmp_path / "a", "--format", "table").stdout
    names = run("export", tmp_path / "b", "--format", "paths").stdout.splitlines()
    assert [Path(name).exists() for name in names] == [True] * 3
    assert run("export", tmp_path / "c", "--quiet").stdout == ""


def test_a_failed_line_ends_with_1(tmp_path: Path, run: Run, source: Path) -> None:
    out = export(source, tmp_path / "out")
    first, *rest = (out / ITEMS_NAME).read_text().splitlines(keepends=True)
    (out / ITEMS_NAME).write_text(json.dumps(json.loads(first) | {"Region": "1"}) + "\n" + "".join(rest))
    make(tmp_path / "to", [])
    taken = run("import", "-i", tmp_path / "to", out)
    assert (taken.returncode, taken.document["Success"], taken.document["Failed"]) == (1, False, 1)
    assert taken.document["Failures"][0]["Code"] == "InvalidRegion"


def test_what_ends_them(tmp_path: Path, run: Run, source: Path) -> None:
    """No instance: 4, a folder in use: 2, no export: 3, another kind: 6, another writer: 5."""
    out = export(source, tmp_path / "out")
    assert run("export", "-i", tmp_path / "none", tmp_path / "x").returncode == 4
    assert run("import", "-i", tmp_path / "none", out).returncode == 4
    assert run("export", out).returncode == 2
    assert run("import", tmp_path).returncode == 3
    run("init", "-i", tmp_path / "generic", "--kind", "generic")
    assert run("import", "-i", tmp_path / "generic", out).returncode == 6
    from imgsearch.storage.lock import writer_lock

    with writer_lock(source):
        assert run("import", out).returncode == 5
        assert run("export", tmp_path / "beside").returncode == 0
