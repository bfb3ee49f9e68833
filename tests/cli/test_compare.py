"""``compare``, and ``search --combine``."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from imgsearch import PictureOptions, Region, compare
from tests.conftest import Run

ROOT = Path(__file__).resolve().parent.parent.parent
CATALOGUE = ROOT / "sample_data" / "catalogue"
FRONT, TOP = CATALOGUE / "mug-red" / "front.jpg", CATALOGUE / "mug-red" / "top.jpg"
OTHER = CATALOGUE / "armchair-teal" / "front.jpg"


@pytest.mark.extended
def test_two_pictures(run: Run, folder: Path) -> None:
    """The same one, another view, another product; no instance comes of it."""
    same, view, other = (run("compare", FRONT, second).document for second in (FRONT, TOP, OTHER))
    assert same == {"Success": True, "Score": 1.0, "Distance": 0}
    assert 1 > view["Score"] > 0.5 > other["Score"] >= 0
    assert 0 < view["Distance"] < other["Distance"]
    assert not folder.exists()


@pytest.mark.extended
def test_it_is_the_score_of_a_search(run: Run, cache: Path) -> None:
    """In an instance that holds only the other picture."""
    assert run("add", TOP, "--kind", "generic").returncode == 0
    (hit,) = run("search", FRONT).document["Auctions"]
    document = run("compare", FRONT, TOP).document
    assert document["Score"] == pytest.approx(hit["Score"], abs=1e-4)
    assert document["Distance"] == int(hit["SortExprValues"].partition(";")[2])
    assert run("compare", "-", TOP, stdin=FRONT.read_bytes()).document == document


def test_regions_and_whole_pictures(cache: Path) -> None:
    """A different region of the same picture is not the same."""
    region = PictureOptions(region=Region(0, 100, 0, 100))
    assert compare(FRONT, FRONT, first_options=region, second_options=region).identical
    assert not compare(FRONT, FRONT, first_options=region).identical
    whole = PictureOptions(crop=False)
    assert not compare(FRONT, FRONT, first_options=whole).identical
    image = Image.open(FRONT)
    data = io.BytesIO()
    image.save(data, "PNG")
    assert compare(FRONT, data.getvalue()).score > 0.99


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ([FRONT, "none.jpg"], 3, "none.jpg: "),
        ([FRONT, "-"], 3, "-: "),
        (["-", "-"], 2, "once"),
        ([FRONT, TOP, "--region2", "0,9999,0,10"], 3, "outside"),
        ([FRONT], 2, "Missing"),
    ],
    ids=str,
)
def test_bad_requests(run: Run, arguments: list[object], code: int, word: str) -> None:
    result = run("compare", *arguments, stdin=b"no picture")
    assert (result.returncode, word in result.stderr) == (code, True), result.stderr


@pytest.mark.extended
def test_combined_views(run: Run) -> None:
    """Several views are one query: one document, without a region, and no identical result."""
    assert run("add", CATALOGUE, "--product-from", "parent").returncode == 0
    document = run("search", FRONT, TOP, "--combine", "--any-category", "-n", 2).document
    assert {hit["ProductId"] for hit in document["Auctions"]} == {"mug-red"}
    assert "Region" not in document["PicInfo"]
    assert all(float(hit["SortExprValues"].partition(";")[0]) < 100 for hit in document["Auctions"])
    folder = run("search", FRONT.parent, "--combine").document
    assert folder["Auctions"][0]["ProductId"] == "mug-red"
    assert folder["PicInfo"]["Confidence"] <= 1
    failed = run("search", FRONT, "none.jpg", "--combine")
    assert (failed.returncode, "none.jpg: " in failed.stderr) == (3, True)


@pytest.mark.parametrize(
    "options",
    [
        ["--category", "Bag", "--any-category"],
        ["--all-subjects", "--region", "0,50,0,50"],
        ["--all-subjects", "--no-crop"],
        ["--all-subjects", "--combine"],
        ["--combine", "--exclude-self"],
        ["--combine", "--region", "0,50,0,50"],
        ["--preview", "--format", "json"],
    ],
    ids=str,
)
def test_options_that_would_be_ignored_are_refused(run: Run, options: list[str]) -> None:
    """Exit code 2; both are named."""
    run("init")
    result = run("search", FRONT, *options)
    assert result.returncode == 2
    assert all(word in result.stderr for word in options if word.startswith("--"))
