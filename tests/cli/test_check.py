"""``check`` through real processes: documents, tables, exit codes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Result, Run, run_on


@pytest.fixture(scope="module")
def made(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``filled`` copies."""
    folder = tmp_path_factory.mktemp("made") / "instance"
    assert run_on(folder)("add", catalogue).returncode == 0
    return folder


@pytest.fixture
def filled(made: Path, folder: Path) -> None:
    """An instance with the catalogue in it."""
    shutil.copytree(made, folder)


def sql(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "instance.db", isolation_level=None)) as connection:
        connection.execute(statement)


def codes(result: Result, part: str = "Problems") -> list[str]:
    return [problem["Code"] for problem in result.document[part]]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("options", [[], ["--read-data"]], ids=str)
def test_a_sound_instance(run: Run, options: list[str]) -> None:
    """Exit code 0, no problem, the same document each time."""
    first, second = run("check", *options), run("check", *options)
    assert (first.returncode, first.document, first.stderr) == (0, {"Success": True, "Problems": []}, "")
    assert second.stdout == first.stdout
    assert run("check", *options, "--format", "table").stdout == "No problem found.\n"


@pytest.mark.usefixtures("filled")
def test_repairing_a_sound_instance(run: Run) -> None:
    """There is nothing to do."""
    result = run("check", "--repair")
    assert (result.returncode, result.document) == (0, {"Success": True, "Problems": [], "Repaired": [], "Lost": []})


@pytest.mark.extended
@pytest.mark.usefixtures("filled")
def test_a_lost_index_is_made_again(run: Run, folder: Path, catalogue: Path) -> None:
    """Derived, so nothing is lost."""
    before = run("search", catalogue / "0003.jpg", "--any-category").document["Auctions"]
    (index,) = folder.glob("index-*.faiss")
    index.unlink()
    result = run("check")
    assert (result.returncode, result.document["Success"], codes(result)) == (6, False, ["IndexMissing"])
    (problem,) = result.document["Problems"]
    assert set(problem) == {"Code", "File", "ProductId", "PicName", "Message"}
    assert problem["File"] == str(index)
    assert "imgsearch check --repair" in problem["Message"]
    assert result.stderr.startswith("imgsearch: 1 problem in ")
    assert run("check", "--format", "paths").stdout.splitlines() == [str(index)]
    repaired = run("check", "--repair")
    assert (repaired.returncode, codes(repaired, "Repaired")) == (0, ["IndexMissing"])
    assert repaired.document["Lost"] == []
    assert run("check", "--read-data").returncode == 0
    assert run("search", catalogue / "0003.jpg", "--any-category").document["Auctions"] == before


@pytest.mark.extended
@pytest.mark.usefixtures("filled")
def test_a_broken_feature_is_lost_until_the_picture_is_added_again(run: Run, folder: Path, catalogue: Path) -> None:
    """Its item is named, the others stay, and adding the folder again brings it back."""
    sql(folder, "UPDATE features SET feature = zeroblob(512) WHERE id = 4")
    assert run("check").returncode == 0
    refused = run("search", catalogue / "0003.jpg", "--any-category")
    assert (refused.returncode, refused.document["Code"]) == (6, "AccessEngineFailed")
    found = run("check", "--read-data")
    assert (found.returncode, codes(found)) == (6, ["FeatureDamaged"])
    names = {name: found.document["Problems"][0][name] for name in ("ProductId", "PicName")}
    table = run("check", "--read-data", "--format", "table")
    assert (table.returncode, table.stdout.splitlines()[-1]) == (6, "1 problem")
    repaired = run("check", "--repair", "--format", "table")
    assert repaired.returncode == 0
    assert "Lost" in repaired.stdout
    assert names["PicName"] in repaired.stdout
    assert run("check", "--read-data").returncode == 0
    assert run("info").document["TotalCount"] == 11
    again = run("add", catalogue).document
    assert (again["Added"], again["Unchanged"]) == (1, 11)
    sql_count = "SELECT count(*) FROM quarantine"
    with closing(sqlite3.connect(folder / "instance.db")) as connection:
        assert connection.execute(sql_count).fetchone() == (0,)
    assert run("search", catalogue / "0003.jpg", "--any-category").document["Auctions"][0]["Score"] == 1.0


@pytest.mark.skipif(os.name == "nt", reason="this system's files have no such modes")
@pytest.mark.usefixtures("filled")
def test_an_instance_that_others_may_read(run: Run, folder: Path) -> None:
    """It is told on stderr and in the document, and is no damage: exit code 0."""
    database = folder / "instance.db"
    folder.chmod(0o755)
    database.chmod(0o644)
    for options in ([], ["--repair"]):
        result = run("check", *options)
        assert (result.returncode, result.document["Success"], result.document["Problems"]) == (0, True, [])
        exposed = result.document["Exposed"][0]
        assert (exposed["File"], exposed["Mode"]) == (str(database), "0644")
        assert result.stderr.startswith(f"imgsearch: {exposed['Message']}")
    assert database.stat().st_mode & 0o777 == 0o644


def test_no_instance(run: Run, folder: Path) -> None:
    """Exit code 4, and nothing is made."""
    for options in ([], ["--read-data"], ["--repair"]):
        result = run("check", *options)
        assert (result.returncode, result.document["Code"]) == (4, "InvalidInstance")
    assert not folder.exists()


@pytest.mark.usefixtures("filled")
def test_a_newer_format(run: Run, folder: Path) -> None:
    """Exit code 6 and the advice to upgrade; a repair leaves it alone."""
    sql(folder, "PRAGMA user_version = 999")
    for options in ([], ["--read-data"], ["--repair"]):
        result = run("check", *options)
        assert (result.returncode, result.document["Code"]) == (6, "UnsupportedInstanceType")
        assert "newer imgsearch" in result.stderr


@pytest.mark.usefixtures("filled")
def test_no_database(run: Run, folder: Path) -> None:
    """A problem like others; what cannot be mended at all says so."""
    (folder / "instance.db").write_bytes(b"nothing of the kind" * 999)
    found = run("check")
    assert (found.returncode, codes(found)) == (6, ["DatabaseDamaged"])
    mended = run("check", "--repair")
    assert (mended.returncode, mended.document["Code"]) == (6, "AccessEngineFailed")
    assert "backup" in mended.stderr


@pytest.mark.usefixtures("filled")
def test_a_locked_instance(run: Run, folder: Path) -> None:
    """A repair waits for a writer or names it; a check does not care."""
    code = (
        "import sys; from pathlib import Path; from imgsearch.storage.lock import writer_lock\n"
        "with writer_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        result = run("check", "--repair")
        assert (result.returncode, result.document["Code"]) == (5, "InstanceStatusError")
        assert f"process {holder.pid}" in result.stderr
        assert run("check", "--read-data").returncode == 0
    finally:
        holder.communicate()
    assert run("check", "--repair", "--lock-timeout", 5).returncode == 0
