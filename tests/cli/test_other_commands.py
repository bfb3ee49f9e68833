"""``init``, ``delete``, ``rebuild`` and ``info`` through real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Run
from tests.pictures import jpeg, write_catalogue


@pytest.mark.parametrize("kind", ["product", "generic"])
def test_init(run: Run, folder: Path, kind: str) -> None:
    """An empty instance of either kind; a second ``init`` never touches it."""
    result = run("init", "--kind", kind, "--region-id", "cn-shanghai")
    assert (result.returncode, result.document["Kind"]) == (0, kind)
    info = run("info").document
    assert (info["Kind"], info["ServiceType"], info["TotalCount"]) == (kind, int(kind == "generic"), 0)
    assert (info["RegionId"], info["Index"]) == ("cn-shanghai", None)
    again = run("init")
    assert (again.returncode, again.document["Code"]) == (2, "InstanceStatusError")


@pytest.mark.parametrize("features", ["floats", "codes"])
def test_init_features(run: Run, features: str) -> None:
    """The stamp tells what is kept of a picture."""
    assert run("init", "--features", features).returncode == 0
    expected = {"floats": "half precision", "codes": "2 bits a number"}[features]
    assert run("info").document["Stamp"]["features"] == expected


@pytest.mark.parametrize(
    ("options", "size", "code"),
    [
        ([], (99, 200), "UnsupportedPicPixels"),
        (["--min-side", 40], (50, 50), None),
        (["--limits", "service"], (4097, 120), "UnsupportedPicPixels"),
        (["--limits", "service"], (4096, 120), None),
        ([], (4097, 120), None),
        (["--max-megapixels", 0.01], (101, 100), "UnsupportedPicPixels"),
        (["--max-side", 150], (160, 120), "UnsupportedPicPixels"),
        (["--max-bytes", 500], (160, 120), "InvalidPicContent"),
    ],
    ids=str,
)
def test_limits(run: Run, tmp_path: Path, options: list[object], size: tuple[int, int], code: str | None) -> None:
    """Profiles and single limits hold for ``add`` and for ``search``."""
    assert run("init", *options).returncode == 0
    path = tmp_path / "picture.jpg"
    path.write_bytes(jpeg(1, size))
    added, searched = run("add", path), run("search", path)
    if code is None:
        assert (added.returncode, searched.returncode) == (0, 0)
    else:
        assert (added.returncode, added.document["Failures"][0]["Code"]) == (3, code)
        assert (searched.returncode, searched.document["Code"]) == (3, code)


def test_delete(run: Run, tmp_path: Path) -> None:
    """A product, one picture, or what a filter selects; what is not there is a stated non-error."""
    write_catalogue(tmp_path / "p", 3)
    write_catalogue(tmp_path / "q", 2)
    run("add", tmp_path, "--product-from", "parent", "--int-attr", 5)
    assert run("delete", "p", "p/0001.jpg", "--dry-run").document == {
        "Success": True, "Deleted": 0, "PicNames": ["p/0001.jpg"], "DryRun": True,
    }  # fmt: skip
    assert run("delete", "p", "p/0001.jpg").document == {"Success": True, "Deleted": 1, "PicNames": ["p/0001.jpg"]}
    nothing = run("delete", "p", "p/0001.jpg")
    assert (nothing.returncode, nothing.document) == (0, {"Success": True, "Deleted": 0, "PicNames": []})
    assert run("delete", "p").document["PicNames"] == ["p/0000.jpg", "p/0002.jpg"]
    assert run("delete", "--filter", "int_attr=5", "--format", "paths").stdout.splitlines() == [
        "q/0000.jpg",
        "q/0001.jpg",
    ]
    assert run("info").document["TotalCount"] == 0


@pytest.mark.extended
def test_rebuild(run: Run, catalogue: Path, folder: Path) -> None:
    """A new generation replaces the old file; the results stay."""
    run("add", catalogue)
    run("delete", "0003")
    before = run("search", catalogue / "0001.jpg", "--any-category").document["Auctions"]
    assert len(before) == 10
    result = run("rebuild")
    assert (result.returncode, set(result.document) >= {"Success", "Items", "Seconds", "Generation"}) == (0, True)
    assert (result.document["Items"], result.document["Generation"]) == (11, 2)
    assert [path.name for path in folder.glob("index-*")] == ["index-2.faiss"]
    assert run("search", catalogue / "0001.jpg", "--any-category").document["Auctions"] == before


def test_rebuild_of_an_empty_instance(run: Run) -> None:
    """Refused before any work, exit code 4."""
    run("init")
    result = run("rebuild")
    assert (result.returncode, result.document["Code"]) == (4, "InstanceStatusError")


@pytest.mark.extended
def test_info_table(run: Run, catalogue: Path) -> None:
    """Facts for people."""
    run("add", catalogue, "--category", 3)
    table = run("info", "--format", "table").stdout
    for fact in ("12 pictures of 12 products", "Bag 12", "efficientnet-lite2", "generation 1", "64 megapixels"):
        assert fact in table


@pytest.mark.parametrize("arguments", [["search", "x.jpg"], ["delete", "p"], ["rebuild"], ["info"]], ids=lambda a: a[0])
def test_missing_instance(run: Run, folder: Path, arguments: list[str]) -> None:
    """Every command but ``init`` and ``add`` refuses a missing instance, and makes nothing."""
    result = run(*arguments)
    assert (result.returncode, result.document["Code"]) == (4, "InvalidInstance")
    assert "imgsearch init" in result.stderr
    assert not folder.exists()


@pytest.mark.extended
def test_damaged_index_and_way_out(run: Run, catalogue: Path, folder: Path) -> None:
    """A flipped bit or a lost index file: exit code 6 and the command that mends it, which does."""
    run("add", catalogue)
    for damage in (lambda path: path.write_bytes(flipped(path.read_bytes())), Path.unlink):
        (index,) = folder.glob("index-*.faiss")
        damage(index)
        result = run("search", catalogue / "0001.jpg", "--any-category")
        assert (result.returncode, result.document["Code"]) == (6, "AccessEngineFailed")
        assert "imgsearch rebuild" in result.stderr
        assert run("rebuild").returncode == 0
        mended = run("search", catalogue / "0001.jpg", "--any-category").document
        assert (mended["Head"]["DocsFound"], mended["Auctions"][0]["Score"]) == (12, 1.0)


def flipped(data: bytes) -> bytes:
    return data[:-100] + bytes([data[-100] ^ 0xFF]) + data[-99:]


@pytest.mark.extended
def test_newer_format_is_refused(run: Run, catalogue: Path, folder: Path) -> None:
    """Exit code 6 and the advice to upgrade."""
    import sqlite3

    run("add", catalogue)
    with sqlite3.connect(folder / "instance.db") as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    result = run("search", catalogue / "0001.jpg")
    assert (result.returncode, result.document["Code"]) == (6, "UnsupportedInstanceType")
    assert "newer imgsearch" in result.stderr
