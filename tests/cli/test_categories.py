"""Categories and subjects through the command line, with pictures whose answers a person would give at a glance.

Contract: in a product instance results belong exactly to the category that is given or predicted, or, where the
prediction is unsure, to the likely ones, and the answer says which; ``--any-category`` lifts that; a generic instance
has one category. ``--all-subjects`` answers for each subject by itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from imgsearch.instance import Instance
from imgsearch.service.categories import CATEGORIES, OTHER, Kind
from imgsearch.types import SURE
from imgsearch.values import Key
from tests.cli.in_process import invoke
from tests.conftest import ROOT

pytestmark = pytest.mark.networks

SAMPLE = ROOT / "sample_data"


def run(instance: Path, *arguments: object) -> list[dict]:
    result = invoke(*arguments, "-i", instance, "--format", "jsonl")
    assert result.returncode == 0, result.stderr
    return result.lines


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample catalogue with its own categories, read-only."""
    folder = tmp_path_factory.mktemp("shop") / "instance"
    run(folder, "add", "--manifest", SAMPLE / "increment.meta")
    return folder


QUERIES = sorted((SAMPLE / "queries").iterdir())


@pytest.mark.parametrize("query", QUERIES[::5], ids=lambda path: path.stem)
def test_results_belong_to_the_searched_categories_and_no_others(shop: Path, query: Path) -> None:
    (document,) = run(shop, "search", query, "-n", 100)
    info = document["PicInfo"]
    searched = info["SearchedCategories"]
    assert info["CategoryId"] == searched[0]
    assert 1 <= len(searched) <= 4
    assert 0 < info["Confidence"] <= 1
    assert (len(searched) == 1) == (info["Confidence"] >= SURE)
    assert {auction["CategoryId"] for auction in document["Auctions"]} <= set(searched)
    with Instance.open(shop) as instance:
        counts = instance.info().categories
    assert document["Head"]["DocsFound"] == sum(counts.get(category_id, 0) for category_id in searched)


def test_a_given_category_wins(shop: Path) -> None:
    (document,) = run(shop, "search", QUERIES[0], "--category", "Shoes", "-n", 100)
    assert document["PicInfo"]["CategoryId"] == 4
    assert document["PicInfo"]["SearchedCategories"] == [4]
    assert "Confidence" not in document["PicInfo"]
    assert {auction["CategoryId"] for auction in document["Auctions"]} == {4}


def test_any_category_looks_everywhere_and_still_predicts(shop: Path) -> None:
    (document,) = run(shop, "search", QUERIES[0], "--any-category", "-n", 100)
    assert document["PicInfo"]["SearchedCategories"] == []
    assert document["PicInfo"]["CategoryId"] in CATEGORIES
    assert document["Head"]["DocsFound"] == 74
    assert len({auction["CategoryId"] for auction in document["Auctions"]}) == 11


def test_an_indexed_picture_is_searched_for_in_its_own_category(shop: Path) -> None:
    (document,) = run(shop, "search", "--product-id", "mug-red", "--pic-name", "catalogue/mug-red/front.jpg")
    assert document["PicInfo"]["SearchedCategories"] == [OTHER]
    assert {auction["CategoryId"] for auction in document["Auctions"]} == {OTHER}
    (given,) = run(
        shop, "search", "--product-id", "mug-red", "--pic-name", "catalogue/mug-red/front.jpg", "--category", 3
    )
    assert {auction["CategoryId"] for auction in given["Auctions"]} == {3}


@pytest.mark.extended
def test_what_is_predicted_is_stored_and_found_again(tmp_path: Path) -> None:
    """Most of these are plain to see; what matters is that adding and searching agree."""
    folder = tmp_path / "instance"
    added = run(folder, "add", SAMPLE / "catalogue", "--product-from", "parent")
    stored = {line["PicName"]: line["CategoryId"] for line in added if "PicName" in line}
    assert set(stored.values()) <= set(CATEGORIES)
    assert len(set(stored.values())) >= 6
    for name in sorted(stored)[::10]:
        (document,) = run(folder, "search", SAMPLE / "catalogue" / name)
        assert document["PicInfo"]["CategoryId"] == stored[name]
        assert (document["Auctions"][0]["PicName"], document["Auctions"][0]["Score"]) == (name, 1.0)


def test_a_given_category_is_stored_whatever_it_looks_like(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    (line, _) = run(folder, "add", QUERIES[0], "--product-id", "p", "--category", "Furniture")
    assert line["CategoryId"] == 9
    with Instance.open(folder) as instance:
        item = instance.item(Key("p", QUERIES[0].name))
    assert (item.category_id, item.category_given) == (9, True)
    again = run(folder, "add", QUERIES[0], "--product-id", "p")
    assert again[0]["Status"] == "replaced", "without a category it is predicted"


def test_a_generic_instance_has_one_category(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    Instance.create(folder, Kind.GENERIC)
    (line, _) = run(folder, "add", QUERIES[0], "--category", "3")
    assert line["CategoryId"] == OTHER
    (document,) = run(folder, "search", QUERIES[0], "--category", "4")
    info = document["PicInfo"]
    assert (info["CategoryId"], info["SearchedCategories"], "Confidence" in info) == (OTHER, [], False)
    assert len(document["Auctions"]) == 1


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products side by side in one picture."""
    scene = Image.new("RGB", (900, 420), (235, 235, 230))
    for x, name in ((30, "mug-red/front.jpg"), (520, "mug-blue-striped/front.jpg")):
        with Image.open(SAMPLE / "catalogue" / name) as image:
            scene.paste(image.convert("RGB").resize((340, 340)), (x, 40))
    path = tmp_path_factory.mktemp("table") / "two.png"
    scene.save(path)
    return path


def test_every_subject_gets_an_answer(shop: Path, table: Path) -> None:
    (one,) = run(shop, "search", table, "--any-category")
    several = run(shop, "search", table, "--any-category", "--all-subjects")
    regions = [subject["Region"] for subject in one["PicInfo"]["MultiRegion"]]
    assert regions[0] == one["PicInfo"]["Region"]
    assert [document["PicInfo"]["Region"] for document in several] == regions
    assert [auction["PicName"] for auction in several[0]["Auctions"]] == [
        auction["PicName"] for auction in one["Auctions"]
    ]
    assert {document["Query"] for document in several} == {str(table)}


@pytest.mark.parametrize("options", [["--region", "500,900,0,420"], ["--no-crop"]], ids=str)
def test_a_given_region_is_the_only_subject(shop: Path, table: Path, options: list[str]) -> None:
    """So to ask for all of them contradicts it."""
    (document,) = run(shop, "search", table, *options)
    assert len(document["PicInfo"]["MultiRegion"]) == 1
    assert invoke("search", table, "--all-subjects", *options, "-i", shop).returncode == 2


def test_all_subjects_needs_a_picture(shop: Path) -> None:
    result = invoke("search", "--product-id", "p", "--pic-name", "n", "--all-subjects", "-i", shop)
    assert result.returncode == 2
