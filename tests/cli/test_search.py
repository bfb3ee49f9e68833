"""``search`` through a real process: the service's document, paging, filters, formats, errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from imgsearch.service.categories import CATEGORIES
from imgsearch.storage.engine import Engine
from imgsearch.storage.lock import writer_lock
from tests.conftest import Run, command, run_on
from tests.killing_decoder import environment, killing
from tests.pictures import jpeg

pytestmark = pytest.mark.networks

EVERYWHERE = "--any-category"
"""Where the ranking matters, not which category is predicted for a drawing."""
AUCTION = {"ProductId", "PicName", "CategoryId", "CustomContent", "Score", "SortExprValues", "Path"}
AUCTION |= {f"{kind}Attr{number}" for kind in ("Int", "Str") for number in ("", 2, 3, 4)}


@pytest.fixture(scope="module")
def made(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the instance that ``indexed`` copies, and with its pictures and their manifest."""
    folder = tmp_path_factory.mktemp("made")
    copy = Path(shutil.copytree(catalogue, folder / "catalogue"))
    lines = [
        {
            "OperationType": "ADD",
            "ProductId": f"p{n // 2}",
            "PicName": f"{n:04}.jpg",
            "CategoryId": 3 + n % 2,
            "IntAttr": n,
        }
        for n in range(12)
    ]
    manifest = copy / "increment.meta"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    assert run_on(folder / "instance")("add", "--manifest", manifest).returncode == 0
    return folder


@pytest.fixture
def indexed(made: Path, folder: Path) -> Path:
    """The catalogue, which no test changes, indexed: even numbers are bags, odd ones shoes."""
    shutil.copytree(made / "instance", folder)
    return made / "catalogue"


def names(document: dict[str, list[dict[str, str]]]) -> list[str]:
    return [hit["PicName"] for hit in document["Auctions"]]


def test_document(run: Run, indexed: Path) -> None:
    """The service's response, name by name."""
    document = run("search", indexed / "0004.jpg", "-n", 3, "--no-crop", EVERYWHERE).document
    assert set(document) == {"RequestId", "Success", "Code", "Msg", "Head", "PicInfo", "Auctions"}
    assert (document["Success"], document["Code"], document["Msg"]) == (True, 0, "success")
    assert document["Head"] == {"DocsReturn": 3, "DocsFound": 12, "SearchTime": document["Head"]["SearchTime"]}
    info = document["PicInfo"]
    assert info == {
        "CategoryId": info["CategoryId"],
        "Confidence": info["Confidence"],
        "SearchedCategories": [],
        "Region": "0,160,0,120",
        "MultiRegion": [{"Region": "0,160,0,120"}],
        "AllCategories": [{"Id": number, "Name": name} for number, name in CATEGORIES.items()],
    }
    assert info["CategoryId"] in CATEGORIES
    assert 0 < info["Confidence"] <= 1
    first, second, third = document["Auctions"]
    assert set(first) == AUCTION
    assert (first["PicName"], first["Score"], first["SortExprValues"]) == ("0004.jpg", 1.0, "7.33136443711219e+24;0")
    relevance = [float(hit["SortExprValues"].partition(";")[0]) for hit in (first, second, third)]
    assert relevance == sorted(relevance, reverse=True)
    assert 1 > second["Score"] >= third["Score"] > 0


@pytest.mark.extended
def test_document_of_a_given_category(run: Run, indexed: Path) -> None:
    """It is named and searched, and nothing was predicted."""
    document = run("search", indexed / "0004.jpg", "--no-crop", "--category", "3").document
    info = document["PicInfo"]
    assert set(info) == {"CategoryId", "SearchedCategories", "Region", "MultiRegion", "AllCategories"}
    assert (info["CategoryId"], info["SearchedCategories"], info["Region"]) == (3, [3], "0,160,0,120")
    assert (document["Head"]["DocsFound"], names(document)[0]) == (6, "0004.jpg")


@pytest.mark.extended
def test_paging_is_one_ranking(run: Run, indexed: Path) -> None:
    """Pages joined are the whole."""
    query = indexed / "0001.jpg"
    whole = names(run("search", query, "-n", 12, EVERYWHERE).document)
    pages = [names(run("search", query, "-n", 5, "--start", start, EVERYWHERE).document) for start in (0, 5, 10)]
    assert [name for page in pages for name in page] == whole
    assert sorted(whole) == [f"{n:04}.jpg" for n in range(12)]


@pytest.mark.extended
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--category", "bag"], {0, 2, 4, 6, 8, 10}),
        (["--filter", "int_attr>=10", EVERYWHERE], {10, 11}),
        (["--filter", "int_attr in (1, 3) OR int_attr=6", "--category", "Shoes"], {1, 3}),
        (["--min-score", "1", EVERYWHERE], {1}),
        (["--exclude-self", EVERYWHERE], set(range(12)) - {1}),
    ],
    ids=str,
)
def test_what_is_selected(run: Run, indexed: Path, arguments: list[str], expected: set[int]) -> None:
    """Categories, filters and thresholds select exactly."""
    found = names(run("search", indexed / "0001.jpg", "-n", 100, *arguments).document)
    assert {int(name[:4]) for name in found} == expected


@pytest.mark.extended
def test_distinct_product(run: Run, indexed: Path) -> None:
    """One hit per ProductId, the best of each."""
    hits = run("search", indexed / "0001.jpg", "-n", 100, "--distinct-product", EVERYWHERE).document["Auctions"]
    assert sorted(hit["ProductId"] for hit in hits) == [f"p{n}" for n in range(6)]
    assert hits[0]["PicName"] == "0001.jpg"


@pytest.mark.extended
@pytest.mark.parametrize("version", [2, 3, 4])
def test_no_lift(run: Run, indexed: Path, folder: Path, tmp_path: Path, version: int) -> None:
    """Each product's other picture is no longer raised by its best; instances of older features never raised any."""
    manifest = Path(shutil.copytree(indexed, tmp_path / "catalogue"), "increment.meta")
    manifest.write_text(manifest.read_text().replace('"CategoryId": 4', '"CategoryId": 3'))
    assert run("add", "--manifest", manifest).returncode == 0
    with writer_lock(folder), closing(Engine.open(folder, write=True)) as engine, engine.committing() as store:
        store.set_setting("model", store.settings()["model"] | {"feature_version": version})
    asked = ("search", "--product-id", "p2", "--pic-name", "0005.jpg", "-n", 100, EVERYWHERE)
    lifted, plain = (run(*asked, *more).document["Auctions"] for more in ((), ("--no-lift",)))
    assert lifted[0] == plain[0]
    before, after = ({hit["PicName"]: hit["Score"] for hit in hits} for hits in (plain, lifted))
    assert set(before) == set(after)
    # Those of the product that is found rise; what competes with them may fall.
    own = {hit["PicName"] for hit in lifted if hit["ProductId"] == "p2"}
    assert all(after[name] >= before[name] for name in own)
    assert (lifted == plain) is (version == 2)


def test_by_name_and_by_stdin(run: Run, indexed: Path) -> None:
    """An indexed picture, or bytes on stdin, are queries too."""
    by_name = run("search", "--product-id", "p2", "--pic-name", "0005.jpg").document
    assert names(by_name)[0] == "0005.jpg"
    assert sorted(names(by_name)) == [f"{n:04}.jpg" for n in range(1, 12, 2)], "its own category is searched"
    assert (by_name["PicInfo"]["CategoryId"], by_name["PicInfo"]["SearchedCategories"]) == (4, [4])
    assert "Confidence" not in by_name["PicInfo"]
    assert names(run("search", "-", EVERYWHERE, stdin=jpeg(7)).document)[0] == "0007.jpg"


@pytest.mark.extended
def test_several_queries(run: Run, indexed: Path, tmp_path: Path) -> None:
    """One document a line, with Query; a bad one does not end the others."""
    bad = tmp_path / "bad.jpg"
    bad.write_text("text")
    result = run("search", indexed / "0003.jpg", bad, indexed / "0005.jpg", "-n", 1, EVERYWHERE)
    assert result.returncode == 1
    good, failed, other = result.lines
    assert (good["Query"], names(good)) == (str(indexed / "0003.jpg"), ["0003.jpg"])
    assert (failed["Success"], failed["Code"], failed["Query"]) == (False, "UnsupportedPicFormat", str(bad))
    assert names(other) == ["0005.jpg"]
    assert len(run("search", indexed, "-n", 1).lines) == 12


@pytest.mark.extended
def test_formats(run: Run, indexed: Path) -> None:
    """A table for people, paths for other commands."""
    query = indexed / "0002.jpg"
    table = run("search", query, EVERYWHERE, "--format", "table").stdout
    assert "0002.jpg" in table
    assert "same" in table
    paths = run("search", query, EVERYWHERE, "--format", "paths").stdout.splitlines()
    assert paths[0] == str(query)
    assert all(Path(path).exists() for path in paths)
    separated = run("search", query, EVERYWHERE, "--format", "paths", "-0").stdout
    assert separated.split("\0")[:-1] == paths


@pytest.mark.extended
def test_contact_sheet(run: Run, indexed: Path, tmp_path: Path) -> None:
    """One HTML file with the pictures inside, no reference to anything outside, names escaped."""
    sheet = tmp_path / "sheet.html"
    assert run("search", indexed / "0002.jpg", "-n", 4, EVERYWHERE, "--html", sheet).returncode == 0
    page = sheet.read_text()
    assert page.count("data:image/jpeg;base64,") == 5
    assert not re.search(r"(src|href)=\"?https?:", page)
    assert [path.name for path in tmp_path.glob("sheet*")] == ["sheet.html"]


@pytest.mark.extended
def test_a_sheet_links_names_and_draws_regions(run: Run, indexed: Path, tmp_path: Path) -> None:
    """Alternative texts name the picture; a region that is not all of it is framed, in shares of its sides."""
    sheet = tmp_path / "sheet.html"
    assert run("add", indexed / "0005.jpg", "--product-id", "part", "--region", "40,80,30,90").returncode == 0
    assert run("search", indexed / "0005.jpg", "--no-crop", "-n", 12, EVERYWHERE, "--html", sheet).returncode == 0
    page = sheet.read_text()
    assert f'href="{(indexed / "0005.jpg").as_uri()}"' in page
    assert 'alt="part 0005.jpg"' in page
    (frame,) = re.findall(r'alt="part 0005.jpg"[^>]*><i style="([^"]*)"', page)
    assert frame == "left:25.00%;top:25.00%;width:25.00%;height:50.00%"
    assert page.count('class="query"') == 1
    assert not re.search(r'class="query"><div><span class="frame"', page), "the whole picture needs no frame"


def test_contact_sheet_survives_missing_and_hostile_names(run: Run, tmp_path: Path) -> None:
    """A picture that is gone is said to be gone; a name cannot become markup."""
    path = tmp_path / "gone.jpg"
    path.write_bytes(jpeg(1))
    run("add", path, "--product-id", "<script>alert(1)</script>")
    query = path.rename(tmp_path / "query.jpg")
    sheet = tmp_path / "sheet.html"
    assert run("search", query, "--html", sheet).returncode == 0
    assert "<script>" not in sheet.read_text()
    assert "cannot be read" in sheet.read_text()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["missing.jpg"], 3, "PictureError"),
        (["Q", "--region", "0,10,0,1000"], 3, "InvalidRegion"),
        (["Q", "--category", "11"], 3, "InvalidCategory"),
        (["Q", "--filter", "price > 3"], 3, "InvalidFilterClause"),
        (["Q", "-n", "101"], 3, "InvalidNumParameter"),
        (["Q", "--start", "500"], 3, "InvalidStartParameter"),
        (["Q", "-n", "100", "--start", "450"], 3, "OverflowMaxResultNum"),
        (["Q", "--min-score", "2"], 2, "BadRequest"),
        (["--product-id", "p1", "--pic-name", "none.jpg"], 4, "PicNotExist"),
        (["--product-id", "p1"], 2, "BadRequest"),
        (["Q", "--product-id", "p1", "--pic-name", "0001.jpg"], 2, "BadRequest"),
        (["--product-id", "p1", "--pic-name", "0001.jpg", "--region", "0,1,0,1"], 2, "BadRequest"),
        ([], 2, "BadRequest"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors(run: Run, indexed: Path, arguments: list[str], exit_code: int, code: str) -> None:
    """Each error has its code, its exit code, a document on stdout and one line on stderr."""
    given = [str(indexed / "0001.jpg") if argument == "Q" else argument for argument in arguments]
    result = run("search", *given)
    assert (result.returncode, result.document["Success"], result.document["Code"]) == (exit_code, False, code)
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.document["Message"] in result.stderr


def test_a_name_that_cannot_be_looked_at(run: Run, indexed: Path) -> None:
    """It is the picture that cannot be used, as with any other that cannot be read."""
    result = run("search", indexed / ("n" * 300), "--format", "json")
    assert (result.returncode, result.document["Code"]) == (3, "PictureError")
    assert "File name too long" in result.stderr


@pytest.mark.extended
def test_a_cut_off_query_is_answered_with_a_warning(run: Run, indexed: Path, tmp_path: Path) -> None:
    picture = tmp_path / "cut.jpg"
    picture.write_bytes(jpeg(1)[:-2])
    result = run("search", picture, "--any-category")
    assert result.returncode == 0
    assert result.document["Warning"].startswith("the file is cut off")
    assert result.stderr == f"imgsearch: {picture}: {result.document['Warning']}\n"
    whole = tmp_path / "whole.jpg"
    whole.write_bytes(jpeg(1))
    assert "Warning" not in run("search", whole, "--any-category").document


@pytest.mark.extended
@pytest.mark.parametrize(
    ("wish", "code", "message"),
    [
        ("crash", "PictureError", "SIGSEGV"),
        ("exit", "PictureError", "has ended"),
        pytest.param(
            *("eat", "UnsupportedPicPixels", "too much memory"),
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory"),
        ),
    ],
)
def test_a_query_that_breaks_its_decoder(
    run: Run, indexed: Path, tmp_path: Path, wish: str, code: str, message: str
) -> None:
    """One query is decoded as guarded as many are."""
    picture = tmp_path / "killing.jpg"
    picture.write_bytes(killing(wish))
    result = run("search", picture, env=environment(tmp_path))
    assert (result.returncode, result.document["Code"]) == (3, code)
    assert message in result.document["Message"]


@pytest.mark.extended
def test_a_folder_without_pictures(run: Run, indexed: Path, tmp_path: Path) -> None:
    """It is told: as a failure of its own, and as one among others whose answers are there."""
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").touch()
    for form in ("json", "table", "paths"):
        alone = run("search", empty, "--format", form)
        assert alone.returncode == 3
        assert f"{empty}: there are no pictures in this folder" in alone.stderr
        if form == "json":
            assert (alone.document["Success"], alone.document["Query"]) == (False, str(empty))
    both = run("search", empty, indexed / "0001.jpg", "--format", "json")
    assert both.returncode == 1
    assert [line["Success"] for line in both.lines] == [False, True]


@pytest.mark.extended
def test_a_reader_that_has_enough(run: Run, folder: Path, indexed: Path) -> None:
    """``| head -1``: no trace, the exit code of a closed pipe."""
    process = subprocess.Popen(
        command("search", indexed, *[indexed] * 20),
        env={**os.environ, "IMGSEARCH_INSTANCE": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert errors == b""


@pytest.mark.extended
def test_copies_that_are_left_out_are_counted(run: Run, indexed: Path) -> None:
    """``--exclude-self`` leaves out the query's bytes under every name, and says how many items that are."""
    run("add", indexed / "0001.jpg", "--product-id", "copy", "--pic-name", "another name.jpg")
    words = ["search", indexed / "0001.jpg", EVERYWHERE, "--exclude-self"]
    head = run(*words).document["Head"]
    assert (head["LeftOut"], head["DocsFound"]) == (2, 13)
    assert "2 pictures with the same bytes are left out" in " ".join(run(*words, "--format", "table").stdout.split())
    assert "LeftOut" not in run("search", indexed / "0001.jpg", EVERYWHERE).document["Head"]


@pytest.mark.extended
def test_paths_with_scores(run: Run, catalogue: Path) -> None:
    """For scripts that need no JSON: Score, a tab, the path; only in that format."""
    run("add", catalogue)
    shown = run("search", catalogue / "0003.jpg", "-n", 2, "--any-category", "--format", "paths", "--scores").stdout
    lines = [line.split("\t") for line in shown.splitlines()]
    assert lines[0] == ["1.000000", str(catalogue / "0003.jpg")]
    assert 0 <= float(lines[1][0]) < 1
    assert run("search", catalogue / "0003.jpg", "--scores", "--format", "json").returncode == 2


@pytest.mark.extended
def test_a_sheet_that_fails_adds_no_second_document(run: Run, catalogue: Path, tmp_path: Path) -> None:
    """Results are printed, and the exit code tells the rest."""
    run("add", catalogue)
    probe = (
        "from imgsearch.cli import contact_sheet\n"
        "from imgsearch.errors import StorageFull\n"
        "def full(*_): raise StorageFull('no space left')\n"
        "contact_sheet.write = full\n"
        "from imgsearch.__main__ import main\n"
        "main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe, "search", catalogue / "0003.jpg", "--html", tmp_path / "x.html"],
        env={**os.environ, "IMGSEARCH_INSTANCE": str(tmp_path / "instance")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, json.loads(result.stdout)["Success"], "no space" in result.stderr) == (8, True, True)
