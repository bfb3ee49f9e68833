"""``duplicates``: copies are found and told from colour variants, in every format; and the files that can go."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from imgsearch import Instance, Key
from tests.conftest import run_on

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

SIZE = (300, 240)


def scene(seed: int) -> Image.Image:
    """A few coloured things on grey."""
    generator = np.random.default_rng(seed)
    pixels = np.full((SIZE[1], SIZE[0], 3), 200, np.uint8)
    for _ in range(5):
        x, y = int(generator.integers(0, 180)), int(generator.integers(0, 120))
        pixels[y : y + 60, x : x + 60] = generator.integers(0, 256, 3)
    return Image.fromarray(pixels)


def saved(image: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def written(folder: Path) -> Path:
    """A folder of two scenes, each with copies, and of the first one in other colours."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(2):
        image = scene(number)
        whole = saved(image, quality=95)
        (pictures / f"{number}.jpg").write_bytes(whole)
        (pictures / f"{number}-copy.jpg").write_bytes(whole)
        (pictures / f"{number}-half.jpg").write_bytes(saved(image.resize((150, 120)), quality=90))
        (pictures / f"{number}-poor.jpg").write_bytes(saved(image, quality=50))
    (pictures / "0-recoloured.jpg").write_bytes(saved(Image.fromarray(np.asarray(scene(0))[..., ::-1]), quality=95))
    return pictures


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance that no test changes."""
    home = tmp_path_factory.mktemp("unchanged")
    assert run_on(home / "instance")("add", written(home), "--kind", "generic").returncode == 0
    return home / "instance"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """For tests that change them."""
    return written(tmp_path)


@pytest.fixture
def shop(run: Run, pictures: Path, folder: Path) -> Path:
    """An instance of them."""
    assert run("add", pictures, "-i", folder, "--kind", "generic").returncode == 0
    return folder


def test_json_lists_the_groups(run: Run, unchanged: Path) -> None:
    document = json.loads(run("duplicates", "-i", unchanged, "--format", "json").stdout)
    assert document["Success"] is True
    assert (document["TotalGroups"], document["TotalPictures"], document["Compared"]) == (2, 8, 9)
    assert document["Unhashed"] == 0
    for group in document["Groups"]:
        names = [one["PicName"] for one in group["Pictures"]]
        number = names[0][0]
        assert group["Level"] == "same"
        assert sorted(names) == [f"{number}-copy.jpg", f"{number}-half.jpg", f"{number}-poor.jpg", f"{number}.jpg"]
        assert names[0] in (f"{number}.jpg", f"{number}-copy.jpg")
        assert [one["Score"] for one in group["Pictures"][:2]] == [1.0, 1.0]
        assert all(one["Score"] < 1 for one in group["Pictures"][2:])
        assert all(one["File"].endswith(one["PicName"]) for one in group["Pictures"])


def test_the_python_api_gives_the_same(unchanged: Path) -> None:
    with Instance.open(unchanged) as instance, instance.duplicates() as found:
        assert (found.same, found.similar, found.compared) == (2, 0, 9)
        assert [len(group.pictures) for group in found.groups] == [4, 4]


@pytest.mark.extended
def test_jsonl_is_a_group_a_line(run: Run, unchanged: Path) -> None:
    lines = run("duplicates", "-i", unchanged, "--format", "jsonl", "-n", 1).stdout.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["Level"] == "same"


def test_a_table_is_for_people(run: Run, unchanged: Path) -> None:
    out = run("duplicates", "-i", unchanged, "--format", "table").stdout
    assert "2 of 2 groups (2 same, 0 similar) with 8 pictures, of 9 compared" in out
    assert "same bytes" in out


@pytest.mark.extended
def test_paths_are_the_files_that_can_go(run: Run, shop: Path, pictures: Path) -> None:
    """One of each group stays; what is kept is never listed under another name."""
    gone = run("duplicates", "-i", shop, "--format", "paths").stdout.splitlines()
    assert len(gone) == 6
    left = {path.name for path in pictures.iterdir()} - {os.path.basename(path) for path in gone}  # noqa: PTH119
    assert {name[0] for name in left} == {"0", "1"}
    assert left <= {"0.jpg", "0-copy.jpg", "1.jpg", "1-copy.jpg", "0-recoloured.jpg"}
    assert len(left) == 3


@pytest.mark.extended
def test_what_has_changed_since_is_not_listed(run: Run, shop: Path, pictures: Path) -> None:
    """A file may show something else now, and the file that would stay may be gone."""
    (pictures / "0-half.jpg").write_bytes(saved(scene(7)))
    for name in ("1.jpg", "1-copy.jpg", "1-poor.jpg"):
        (pictures / name).unlink()
    result = run("duplicates", "-i", shop, "--format", "paths")
    names = {os.path.basename(path) for path in result.stdout.splitlines()}  # noqa: PTH119
    assert "0-half.jpg" not in names
    assert {name[0] for name in names} == {"0"}
    assert "copies are not listed" in result.stderr


@pytest.mark.extended
def test_another_name_of_what_stays_is_not_listed(run: Run, folder: Path, pictures: Path) -> None:
    """The same file under two keys, and a hard link: there is nothing to spare."""
    only = pictures / "0.jpg"
    for name in pictures.iterdir():
        if name != only:
            name.unlink()
    os.link(only, pictures / "link.jpg")
    assert run("add", pictures, "-i", folder, "--kind", "generic").returncode == 0
    assert run("add", only, "-i", folder, "--product-id", "again").returncode == 0
    result = run("duplicates", "-i", folder, "--format", "paths")
    assert result.stdout == ""
    assert "2 copies are not listed" in result.stderr


@pytest.mark.extended
def test_the_sheet_shows_the_groups(run: Run, unchanged: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    assert run("duplicates", "-i", unchanged, "--html", sheet, "--format", "json").returncode == 0
    assert sheet.read_text().count("<img") == 8


def test_similar_comes_on_request(run: Run, unchanged: Path) -> None:
    document = json.loads(
        run("duplicates", "-i", unchanged, "--format", "json", "--level", "similar", "--min-score", 0).stdout
    )
    levels = [group["Level"] for group in document["Groups"]]
    assert levels[:2] == ["same", "same"]
    assert set(levels[2:]) == {"similar"}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--within-products", "--across-products"], 2),
        (["--min-score", "2"], 2),
        (["--level", "equal"], 2),
        (["--filter", "nonsense"], 3),
        (["--category", "nonsense"], 3),
    ],
)
def test_wrong_options_are_refused(run: Run, unchanged: Path, options: list[str], code: int) -> None:
    assert run("duplicates", "-i", unchanged, *options).returncode == code


def test_no_instance_is_said(run: Run, folder: Path) -> None:
    assert run("duplicates", "-i", folder).returncode == 4


@pytest.mark.extended
def test_hashes_that_are_missing_are_told_and_computed(run: Run, shop: Path, pictures: Path) -> None:
    """Of an older instance: only the same bytes are found, until ``add --reindex`` has seen the pictures again."""
    with Instance.open(shop) as instance:
        before = instance.item(Key("0", "0.jpg")).picture_hash
        with instance._opened.writing(0) as engine, engine.committing() as store:  # as format 3 was migrated
            connection = store.connection  # type: ignore[attr-defined]
            connection.execute("UPDATE items SET picture_hash = NULL")
            for (number,) in connection.execute("SELECT id FROM items").fetchall():
                store._update_checksum(number)  # type: ignore[attr-defined]
    result = run("duplicates", "-i", shop, "--format", "json")
    assert "9 of 9 pictures have no perceptual hash" in result.stderr
    assert [len(group["Pictures"]) for group in json.loads(result.stdout)["Groups"]] == [2, 2]
    (pictures / "1-half.jpg").unlink()
    reindexed = run("add", "--reindex", "-i", shop, "--format", "json")
    assert reindexed.returncode == 1
    document = json.loads(reindexed.stdout)
    assert (document["Replaced"], document["Failed"]) == (8, 1)
    result = run("duplicates", "-i", shop, "--format", "json")
    assert "1 of 9 pictures have no perceptual hash" in result.stderr
    assert [len(group["Pictures"]) for group in json.loads(result.stdout)["Groups"]] == [4, 3]
    with Instance.open(shop) as instance:
        assert instance.item(Key("0", "0.jpg")).picture_hash == before
