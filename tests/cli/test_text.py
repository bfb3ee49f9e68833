"""``search --text``: words for a query, with a model that has a text side (docs/cli.md, docs/models.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from imgsearch import AddPicture, FilePicture, Instance, Key, Kind, PictureOptions, SearchOptions
from imgsearch.errors import DeviceUnusable, StampMismatch, UsageError
from tests.vision.folder_models import write_folder_model

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_folder_model(tmp_path / "tiny")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """One picture of each colour, named after it."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (200, 150), colour).save(folder / f"{name}.png")
    return folder


def add(instance: Instance, pictures: Path, categories: dict[str, int] | None = None) -> None:
    """Whole pictures with their categories given, so that no further network is needed."""
    operations = [
        AddPicture(
            key=Key(name, f"{name}.png"),
            picture=FilePicture(pictures / f"{name}.png"),
            source=name,
            options=PictureOptions((categories or {}).get(name), crop=False),
        )
        for name in COLOURS
    ]
    assert {outcome.status for outcome in instance.apply(operations)} == {"added"}


@pytest.fixture
def textual(folder: Path, model: Path, pictures: Path) -> Path:
    """A generic instance that can be searched by words."""
    Instance.create(folder, Kind.GENERIC, model=str(model))
    with Instance.open(folder) as instance:
        add(instance, pictures)
    return folder


def test_words_find_pictures(textual: Path, run: Run) -> None:
    result = run("search", "--text", "a red shoe", "--format", "json")
    assert result.returncode == 0, result.stderr
    found = result.document
    assert found["Auctions"][0]["ProductId"] == "red"
    assert found["Head"]["DocsFound"] == len(COLOURS)
    scores = [hit["Score"] for hit in found["Auctions"]]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] < 0.5 < scores[0] < 1
    assert "Region" not in found["PicInfo"]
    assert found["PicInfo"]["MultiRegion"] == []


def test_what_selects_and_pages_goes_with_words(textual: Path, run: Run) -> None:
    found = run("search", "--text", "red", "-n", "1", "--start", "1", "--format", "json").document
    assert found["Head"]["DocsReturn"] == 1
    assert found["Auctions"][0]["ProductId"] != "red"
    table = run("search", "--text", "red", "--min-score", "0.5", "--format", "table")
    assert table.returncode == 0
    assert "red.png" in table.stdout
    assert "blue.png" not in table.stdout


def test_a_contact_sheet_of_words(textual: Path, run: Run, tmp_path: Path) -> None:
    result = run("search", "--text", "<red>", "--html", tmp_path / "sheet.html", "--format", "paths")
    assert result.returncode == 0, result.stderr
    assert "&lt;red&gt;" in (tmp_path / "sheet.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["picture.png"], "only one of"),
        (["--product-id", "p", "--pic-name", "n"], "only one of"),
        (["--region", "0,1,0,1"], "need pictures"),
        (["--no-crop"], "need pictures"),
        (["--all-subjects"], "need pictures"),
        (["--exclude-self"], "needs a picture"),
    ],
)
def test_what_does_not_go_with_words(arguments: list[str], said: str, run: Run) -> None:
    result = run("search", "--text", "red", *arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.document["Code"] == "BadRequest"


def test_a_model_without_a_text_side(instance: Instance, run: Run) -> None:
    result = run("search", "--text", "red")
    assert result.returncode == 2
    assert "no text side" in result.stderr
    assert "imgsearch models" in result.stderr


def test_nothing_but_space(textual: Path, run: Run) -> None:
    result = run("search", "--text", "  ")
    assert result.returncode == 2
    assert "empty" in result.stderr


def test_a_text_that_is_too_long_is_told(textual: Path, run: Run) -> None:
    result = run("search", "--text", "red " * 20)
    assert result.returncode == 0
    assert "only its beginning counts" in result.stderr


def test_by_text_from_python(folder: Path, model: Path, pictures: Path) -> None:
    """In a product instance words look everywhere, as no category is predicted from them; or where they are told."""
    Instance.create(folder, model=str(model))
    with Instance.open(folder) as instance:
        add(instance, pictures, {"red": 1, "green": 3, "blue": 3})
        with instance.searching() as searcher:
            found = searcher.by_text("red")
            assert found.hits[0].item.key.product_id == "red"
            assert (found.category_id, found.searched_categories, found.region, found.subjects) == (None, (), None, ())
            found = searcher.by_text("red", 3)
            assert {hit.item.key.product_id for hit in found.hits} == {"green", "blue"}
            assert (found.category_id, found.searched_categories) == (3, (3,))
            with pytest.raises(UsageError):
                searcher.by_text("red", search=SearchOptions(exclude_self=True))


def test_pictures_find_pictures_with_such_a_model(textual: Path, pictures: Path) -> None:
    with Instance.open(textual) as instance, instance.searching() as searcher:
        found = searcher.by_picture(FilePicture(pictures / "blue.png"), PictureOptions(crop=False))
        assert found.hits[0].item.key.product_id == "blue"
        assert found.hits[0].identical


def test_subjects_and_categories_stay_with_such_a_model(folder: Path, model: Path, catalogue: Path) -> None:
    """What finds the one and predicts the other stands beside any model."""
    Instance.create(folder, model=str(model))
    with Instance.open(folder) as instance:
        (extracted,) = instance.analyse([(FilePicture(min(catalogue.iterdir())), PictureOptions())])
        assert extracted.chances
        assert extracted.feature.shape == (8,)


def test_codes_can_be_searched_by_words(folder: Path, model: Path, pictures: Path) -> None:
    Instance.create(folder, Kind.GENERIC, model=str(model), features="codes")
    with Instance.open(folder) as instance:
        add(instance, pictures)
        with instance.searching() as searcher:
            assert searcher.by_text("green").hits[0].item.key.product_id == "green"


def test_a_gpu_is_refused(textual: Path) -> None:
    with Instance.open(textual) as instance, pytest.raises(DeviceUnusable, match="CPU only"):
        list(instance.apply([], device="torch:cpu"))


def test_another_folder_is_another_model(textual: Path, model: Path, tmp_path: Path) -> None:
    """The same folder elsewhere is the same."""
    moved = model.rename(tmp_path / "moved")
    moved.mkdir(exist_ok=True)
    with Instance.open(textual) as instance:
        with pytest.raises(StampMismatch):
            instance.check_model(str(moved))
        instance.check_model(str(moved.rename(tmp_path / "tiny")))


def test_the_command_line_makes_it(model: Path, run: Run, folder: Path) -> None:
    result = run("init", "--kind", "generic", "--model", model)
    assert result.returncode == 0, result.stderr
    info = run("info").document
    assert info["Stamp"]["model"] == "tiny"
    assert "colour" not in info["Stamp"]
    (model / "tokenizer.json").unlink()
    result = run("init", "-i", folder.with_name("second"), "--model", model)
    assert result.returncode == 3
    assert "tokenizer.json" in result.stderr
