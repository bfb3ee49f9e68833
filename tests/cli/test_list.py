"""``list`` and ``show``: what is stored, by key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Run, run_on
from tests.pictures import write_catalogue


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the one instance that all these tests read and none changes."""
    return tmp_path_factory.mktemp("shop") / "instance"


@pytest.fixture(scope="module")
def shop(folder: Path) -> Path:
    """Products b (2 pictures, int_attr 1) and a (3 pictures, int_attr 2), added in this order."""
    run, pictures = run_on(folder), folder.parent
    for number, (name, count) in enumerate([("b", 2), ("a", 3)], 1):
        write_catalogue(pictures / name, count)
        run("add", pictures / name, "--product-id", name, "--category", "Bag", "--int-attr", number)
    return pictures


def keys(document: dict[str, list[dict[str, str]]]) -> list[tuple[str, str]]:
    return [(item["ProductId"], item["PicName"]) for item in document["Auctions"]]


ALL = [("a", "0000.jpg"), ("a", "0001.jpg"), ("a", "0002.jpg"), ("b", "0000.jpg"), ("b", "0001.jpg")]


def test_all_items_by_key(run: Run, shop: Path) -> None:
    """The order is that of (ProductId, PicName), whatever the order of addition."""
    document = run("list").document
    assert (document["Success"], document["TotalCount"], keys(document)) == (True, 5, ALL)
    first = document["Auctions"][0]
    assert (first["CategoryId"], first["IntAttr"], first["StrAttr"]) == (3, 2, None)
    assert first["Path"] == str(shop / "a" / "0000.jpg")
    assert len(first["Region"].split(",")) == 4


@pytest.mark.parametrize(
    ("options", "expected", "total"),
    [
        (["-n", 2], ALL[:2], 5),
        (["-n", 2, "--start", 2], ALL[2:4], 5),
        (["--start", 5], [], 5),
        (["-n", 0], [], 5),
        (["--product-id", "b"], ALL[3:], 2),
        (["--product-id", "b", "-n", 1, "--start", 1], ALL[4:], 2),
        (["--filter", "int_attr=2"], ALL[:3], 3),
        (["--filter", "int_attr>0", "--start", 3], ALL[3:], 5),
        (["--filter", "int_attr>0", "--category", "3", "--product-id", "a"], ALL[:3], 3),
        (["--category", "Shoes"], [], 0),
        (["--product-id", "none"], [], 0),
    ],
    ids=str,
)
def test_selections_and_pages(
    run: Run, shop: Path, options: list[object], expected: list[tuple[str, str]], total: int
) -> None:
    """TotalCount counts the matches of all pages."""
    document = run("list", *options).document
    assert (keys(document), document["TotalCount"]) == (expected, total)
    lines = run("list", *options, "--format", "jsonl").lines
    assert [(item["ProductId"], item["PicName"]) for item in lines] == expected


def test_paths_and_table(run: Run, shop: Path) -> None:
    """Paths are those of the pictures, ready for another tool."""
    paths = [str(shop / product / name) for product, name in ALL]
    assert run("list", "--format", "paths").stdout.splitlines() == paths
    assert run("list", "--format", "paths", "-0").stdout == "".join(f"{path}\0" for path in paths)
    table = run("list", "-n", 1, "--format", "table").stdout
    assert "1 of 5 items" in table
    assert "Bag" in table


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--filter", "color=1"], 3), (["--category", "Bicycle"], 3), (["-n", -1], 2), (["--product-id", ""], 3)],
    ids=str,
)
def test_bad_selections(run: Run, shop: Path, options: list[object], code: int) -> None:
    assert run("list", *options).returncode == code


@pytest.mark.extended
def test_show(run: Run, shop: Path) -> None:
    """All that is stored of a product's pictures, or of one."""
    document = run("show", "a").document
    assert (document["Exists"], keys(document)) == (True, ALL[:3])
    one = run("show", "a", "0001.jpg").document["Auctions"]
    assert one == document["Auctions"][1:2]
    assert one[0]["Path"] == str(shop / "a" / "0001.jpg")
    assert (one[0]["CategoryGiven"], one[0]["Crop"], one[0]["RegionGiven"]) == (True, True, False)
    assert one[0]["MultiRegion"][0]["Region"] == one[0]["Region"]
    assert len(one[0]["ContentHash"]) == 32
    assert "feature" not in str(document).casefold()
    assert "0001.jpg" in run("show", "a", "0001.jpg", "--format", "table").stdout
    assert run("show", "a", "--format", "paths").stdout.splitlines() == [str(shop / "a" / name) for _, name in ALL[:3]]


@pytest.mark.extended
@pytest.mark.parametrize("key", [["none"], ["a", "none.jpg"], ["none", "0000.jpg"]], ids=str)
def test_show_of_nothing(run: Run, shop: Path, key: list[str]) -> None:
    """Exit code 4, and the document says that there is none."""
    result = run("show", *key)
    assert (result.returncode, result.document) == (4, {"Success": True, "Exists": False, "Auctions": []})
    assert key[-1] in result.stderr
