"""``update``: metadata of stored items, without their pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run, run_on
from tests.pictures import write_catalogue


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``shop`` copies."""
    pictures = tmp_path_factory.mktemp("made") / "p"
    write_catalogue(pictures, 3)
    attributes = ["--int-attr", 5, "--str-attr", "red", "--custom-content", "text"]
    folder = pictures.with_name("instance")
    run_on(folder)("add", pictures, "--product-id", "p", "--category", "Bag", *attributes)
    shutil.rmtree(pictures)
    return folder


@pytest.fixture
def shop(made: Path, folder: Path) -> None:
    """Product p of three pictures in category Bag, with attributes; the pictures are gone."""
    shutil.copytree(made, folder)


def facts(run: Run, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(item[field] for field in fields) for item in run("list").document["Auctions"]]


@pytest.mark.usefixtures("shop")
def test_one_picture(run: Run) -> None:
    """What is not named stays; filters see it at once."""
    document = run("update", "p", "0001.jpg", "--int-attr", 6, "--str-attr2", "new", "--unset", "str-attr").document
    assert document == {"Success": True, "Updated": 1, "PicNames": ["0001.jpg"]}
    assert facts(run, "IntAttr", "StrAttr", "StrAttr2", "CustomContent", "CategoryId") == [
        (5, "red", None, "text", 3),
        (6, None, "new", "text", 3),
        (5, "red", None, "text", 3),
    ]
    assert run("list", "--filter", "int_attr=6").document["TotalCount"] == 1
    assert run("check", "--read-data").document == {"Success": True, "Problems": []}


@pytest.mark.usefixtures("shop")
def test_a_product_and_a_filter(run: Run) -> None:
    """Only items that differ afterwards count."""
    assert run("update", "p", "--int-attr", 7).document["Updated"] == 3
    assert run("update", "p", "--int-attr", 7).document["Updated"] == 0
    assert run("update", "--filter", 'str_attr="red"', "--unset", "StrAttr").document["Updated"] == 3
    assert run("update", "--filter", 'str_attr="red"', "--int-attr", 1).document["Updated"] == 0
    assert facts(run, "IntAttr", "StrAttr") == [(7, None)] * 3


@pytest.mark.usefixtures("shop")
def test_category(run: Run) -> None:
    """Searches find the items in their new category only."""
    assert run("update", "p", "0000.jpg", "--category", "Shoes", "--int-attr", 9).document["Updated"] == 1
    assert facts(run, "CategoryId", "IntAttr") == [(4, 9), (3, 5), (3, 5)]
    found = run("search", "--product-id", "p", "--pic-name", "0000.jpg").document
    assert [hit["PicName"] for hit in found["Auctions"]] == ["0000.jpg"]


@pytest.mark.usefixtures("shop")
def test_dry_run_and_formats(run: Run) -> None:
    document = run("update", "p", "--int-attr", 8, "--dry-run").document
    assert (document["Updated"], document["DryRun"], len(document["PicNames"])) == (0, True, 3)
    assert facts(run, "IntAttr") == [(5,)] * 3
    assert run("update", "p", "--int-attr", 8, "--format", "paths").stdout.split() == [
        "0000.jpg",
        "0001.jpg",
        "0002.jpg",
    ]
    assert "3 updated" in run("update", "p", "--int-attr", 9, "--format", "table").stdout
    assert run("update", "p", "--int-attr", 10, "--quiet").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["p"], 2, "nothing to change"),
        (["--int-attr", 1], 2, "filter"),
        (["p", "--filter", "int_attr=5", "--int-attr", 1], 2, "either"),
        (["p", "--unset", "colour"], 2, "colour"),
        (["p", "--unset", "int_attr", "--int-attr", 1], 2, "contradict"),
        (["none", "--int-attr", 1], 4, "none"),
        (["p", "none.jpg", "--int-attr", 1], 4, "none.jpg"),
        (["p", "--int-attr", 2**31], 3, "32-bit"),
        (["p", "--str-attr", "x" * 129], 3, "128"),
        (["p", "--category", "Bicycle"], 3, "Bicycle"),
        (["--filter", "colour=1", "--int-attr", 1], 3, "colour"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("shop")
def test_bad_requests(run: Run, arguments: list[object], code: int, word: str) -> None:
    """They change nothing, and say what is wrong."""
    result = run("update", *arguments)
    assert (result.returncode, word in result.stderr) == (code, True), result.stderr
    assert facts(run, "IntAttr") == [(5,)] * 3


def test_a_generic_instance_has_no_categories(run: Run, catalogue: Path) -> None:
    run("add", catalogue, "--kind", "generic")
    assert run("update", "0000", "--category", "Bag").returncode == 3
