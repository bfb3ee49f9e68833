"""``eval`` through a real process: its figures are those of ``add`` and ``search``, and it ends as it should."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_start import on_terminal
from tests.conftest import ROOT, Result, Run, command
from tests.pictures import jpeg, write_catalogue

pytestmark = pytest.mark.networks

SAMPLE = ROOT / "sample_data"
FIGURES = {"Queries", "Hit@1", "Hit@5", "Hit@10", "mAP", "MRR@distinct", "Products@10", "Calibration"}


def by_hand(
    answers: Result, distinct: Result, product_of: Callable[[str], str], relevant: Callable[[str], int]
) -> dict[str, float]:
    """The figures, reckoned from the documents of ``search``.

    Args:
        answers: of ``search`` with several pictures.
        distinct: the same with ``--distinct-product``.
        product_of: the product of a query.
        relevant: how many right pictures there are for a query.
    """
    hits, precisions, products, errors = Counter[int](), [], [], defaultdict[int, list[float]](list)
    for answer in answers.lines:
        query = answer["Query"]
        right = [hit["ProductId"] == product_of(query) for hit in answer["Auctions"]]
        hits.update(count for count in (1, 5, 10) if any(right[:count]))
        at_right_ones = [sum(right[:rank]) / rank for rank, is_right in enumerate(right, 1) if is_right]
        precisions.append(sum(at_right_ones) / relevant(query))
        products.append(len({hit["ProductId"] for hit in answer["Auctions"][:10]}))
        for hit, is_right in zip(answer["Auctions"][:10], right, strict=False):
            assert hit["Score"] < 1, "no query is a picture of the catalogue"
            errors[int(10 * hit["Score"])].append(hit["Score"] - is_right)
    count = len(precisions)
    reciprocals = []
    for answer in distinct.lines:
        found, wanted = [hit["ProductId"] for hit in answer["Auctions"]], product_of(answer["Query"])
        reciprocals.append(1 / (found.index(wanted) + 1) if wanted in found else 0.0)
    results = sum(map(len, errors.values()))
    return {
        "Queries": count,
        **{f"Hit@{rank}": round(hits[rank] / count, 6) for rank in (1, 5, 10)},
        "mAP": round(sum(precisions) / count, 6),
        "MRR@distinct": round(sum(reciprocals) / count, 6),
        "Products@10": round(sum(products) / count, 6),
        "ECE": round(sum(abs(sum(inside)) for inside in errors.values()) / results, 4),
    }


def with_error(figures: dict[str, Any]) -> dict[str, float]:
    """The figures of ``eval``, with the one of its calibration that is reckoned by hand from rounded Scores."""
    others = {name: value for name, value in figures.items() if name != "Calibration"}
    return others | {"ECE": round(figures["Calibration"]["ECE"], 4)}


@pytest.mark.extended
def test_figures_are_those_of_add_and_search(run: Run) -> None:
    """The sample catalogue with its ground truth: the same figures as by hand, digit by digit."""
    with (SAMPLE / "groundtruth.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    gallery = Counter(row["product_id"] for row in rows if row["split"] == "gallery")
    products = {str(SAMPLE / row["file"]): row["product_id"] for row in rows if row["split"] == "query"}
    assert run("add", SAMPLE / "catalogue", "--product-from", "parent").returncode == 0
    answers = run("search", *products, "-n", 100)
    distinct = run("search", *products, "-n", 100, "--distinct-product")
    expected = by_hand(answers, distinct, products.__getitem__, lambda query: gallery[products[query]])
    result = run("eval", SAMPLE)
    assert (result.returncode, result.document["Success"], result.document["Failures"]) == (0, True, [])
    retrieval = result.document["Retrieval"]
    assert retrieval["all"] == retrieval["sample"]
    calibration = retrieval["all"]["Calibration"]
    assert with_error(retrieval["all"]) == expected
    assert sum(one["Results"] for one in calibration["Bins"]) == calibration["Results"]
    assert [one["Score"] for one in calibration["MinScore"]] == [0.3, 0.5, 0.7]


@pytest.mark.extended
def test_leaving_one_out_is_search_with_exclude_self(run: Run) -> None:
    """The sample catalogue without ground truth: its folders are products."""
    sizes = Counter(path.parent.name for path in (SAMPLE / "catalogue").rglob("*.*"))
    assert run("add", SAMPLE / "catalogue", "--product-from", "parent").returncode == 0
    answers = run("search", SAMPLE / "catalogue", "-n", 100, "--exclude-self")
    distinct = run("search", SAMPLE / "catalogue", "-n", 100, "--exclude-self", "--distinct-product")
    expected = by_hand(
        answers,
        distinct,
        lambda query: Path(query).parent.name,
        lambda query: sizes[Path(query).parent.name] - 1,
    )
    retrieval = run("eval", SAMPLE / "catalogue").document["Retrieval"]
    assert {name: with_error(figures) for name, figures in retrieval.items()} == {"all": expected}


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A folder with all three parts."""
    folder = tmp_path / "labelled"
    for part in ("retrieval", "categories", "subjects"):
        write_catalogue(folder / part, 4)
    splits = ["gallery,p", "gallery,q", "query,p", "query,q"]
    tables = {
        "retrieval/groundtruth.csv": ["file,split,product_id", *(f"{n:04}.jpg,{row}" for n, row in enumerate(splits))],
        "categories/labels.csv": ["file,label,source", *(f"{n:04}.jpg,{n},shop" for n in range(4))],
        "subjects/boxes.csv": ["file,x1,y1,x2,y2", *(f"{n:04}.jpg,0,0,80,60" for n in range(4))],
    }
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines))
    return folder


@pytest.mark.extended
def test_document(run: Run, labelled: Path, folder: Path) -> None:
    """One document with three parts, name by name; no instance is made or wanted."""
    document = run("eval", labelled).document
    assert list(document) == [
        "Success", "Model", "Kind", "Retrieval", "Categories", "Subjects", "Failures", "Seconds",
    ]  # fmt: skip
    assert (document["Model"], document["Kind"]) == ("efficientnet-lite2+lite0", "product")
    assert set(document["Retrieval"]) == {"all"}
    assert set(document["Retrieval"]["all"]) == FIGURES
    categories = document["Categories"]
    assert set(categories) == {
        "Pictures", "Strict", "Lenient", "MacroStrict", "MacroLenient", "Rare", "PerCategory", "PerSource",
    }  # fmt: skip
    assert (categories["Pictures"], categories["MacroStrict"], categories["Rare"]) == (4, None, [0, 1, 2, 3])
    assert categories["PerCategory"]["3"].keys() == {"Name", "Pictures", "Strict", "Lenient"}
    assert categories["PerSource"]["shop"].keys() == {"Pictures", "Strict", "Lenient"}
    subjects = document["Subjects"]["all"]
    assert set(subjects) == {"Pictures", "MeanIoU", "IoU@0.5", "IoU@0.7", "Floor"}
    assert subjects["Floor"] == {"MeanIoU": 0.25, "IoU@0.5": 0.0, "IoU@0.7": 0.0}
    assert not folder.exists()


@pytest.mark.extended
def test_parts_and_formats(run: Run, labelled: Path) -> None:
    """``--part`` restricts, ``jsonl`` is one line, ``table`` is for people."""
    document = run("eval", labelled, "--part", "subjects", "--part", "retrieval", "--format", "jsonl").lines[0]
    assert "Categories" not in document
    assert {"Retrieval", "Subjects"} <= set(document)
    table = run("eval", labelled, "--format", "table").stdout
    for word in (
        "hit@10",
        "mAP",
        "MRR@distinct",
        "ECE",
        "mean Score",
        "kept >= 0.5",
        "3 Bag",
        "rare",
        "mean IoU",
        "whole picture",
        "efficientnet-lite2+lite0",
    ):
        assert word in table


@pytest.mark.extended
def test_settings(run: Run, labelled: Path, folder: Path) -> None:
    """Model and kind as asked for, or as an instance has them; the instance is left as it is."""
    result = run("eval", labelled, "--model", "efficientnet-lite0", "--kind", "generic", "--no-crop", "--workers", 1)
    assert (result.document["Model"], result.document["Kind"]) == ("efficientnet-lite0", "generic")
    assert not {"Categories", "Subjects"} & set(result.document)
    assert result.stderr.count("Left out") == 2
    assert run("init", "--model", "efficientnet-lite0", "--kind", "generic", "--min-side", 200).returncode == 0
    result = run("eval", labelled, "-i", folder, "--any-category", "--part", "retrieval")
    assert (result.document["Model"], result.document["Kind"]) == ("efficientnet-lite0", "generic")
    assert {failure["Code"] for failure in result.document["Failures"]} == {"UnsupportedPicPixels"}
    assert run("info").document["TotalCount"] == 0


@pytest.mark.extended
def test_a_broken_picture(run: Run, labelled: Path) -> None:
    """Exit code 1, told in every format, counted as missed."""
    broken = labelled / "retrieval" / "0002.jpg"
    broken.write_text("no picture")
    result = run("eval", labelled, "--part", "retrieval")
    assert (result.returncode, result.document["Success"]) == (1, False)
    (failure,) = result.document["Failures"]
    assert set(failure) == {"Source", "Code", "Message"}
    assert (failure["Source"], failure["Code"]) == (str(broken), "UnsupportedPicFormat")
    assert result.document["Retrieval"]["all"]["Queries"] == 2
    table = run("eval", labelled, "--part", "retrieval", "--format", "table")
    assert table.returncode == 1
    assert "UnsupportedPicFormat" in table.stdout


@pytest.mark.parametrize(
    ("table", "content", "said"),
    [
        ("labels.csv", "file,label\na.jpg,hats\n", "labels.csv, line 2: label: category 'hats' does not exist"),
        ("boxes.csv", "file,x1,y1,x2\n", "boxes.csv, line 1: the column y2 is missing"),
        ("groundtruth.csv", "file,split,product_id\n../a.jpg,query,p\n", "groundtruth.csv, line 2: file"),
        ("labels.csv", "file,label\n\x1b[2J.jpg,\x1b[2J\n", "does not exist"),
        ("notes.txt", "nothing", "there is nothing to measure"),
    ],
    ids=lambda value: value.partition(".")[0][:20],
)
def test_bad_ground_truth(run: Run, tmp_path: Path, table: str, content: str, said: str) -> None:
    """Exit code 3 and one line that names file and line; control characters do not come through."""
    (tmp_path / table).write_text(content)
    result = run("eval", tmp_path)
    assert (result.returncode, result.document["Code"]) == (3, "BadRequest")
    assert said in result.document["Message"]
    assert len(result.stderr.strip().splitlines()) == 1
    assert "\x1b" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        ([], 2),
        (["F", "--part", "speed"], 2),
        (["F", "--format", "paths"], 2),
        (["F", "--workers", 0], 2),
        (["F", "-i", "I", "--model", "efficientnet-lite0"], 2),
        (["F", "-i", "I", "--kind", "generic"], 2),
        (["F", "-i", "I"], 4),
        (["F", "--engine", "mysql://u@h/d"], 2),
        (["F", "--index", "milvus://127.0.0.1"], 2),
        (["F", "--worst", 3], 2),
        (["F", "--worst", 0, "--html", "page"], 2),
        (["F", "--kind", "generic", "--part", "categories"], 3),
        (["F/nowhere"], 3),
    ],
    ids=str,
)
def test_wrong_usage(run: Run, labelled: Path, folder: Path, arguments: list[object], exit_code: int) -> None:
    """Options that do not go together, a missing instance, nothing to measure."""
    places = {"F": labelled, "I": folder, "F/nowhere": labelled / "nowhere"}
    result = run("eval", *(places.get(str(argument), argument) for argument in arguments))
    assert result.returncode == exit_code
    assert result.stderr


@pytest.mark.extended
def test_a_terminal_gets_bars_and_tables(folder: Path, labelled: Path) -> None:
    """Progress of each step only on a terminal."""
    code, shown = on_terminal(folder, "eval", labelled, "--part", "retrieval", "--part", "subjects")
    assert code == 0
    for word in ("indexing", "searching", "subjects", "hit@1"):
        assert word in shown


@pytest.mark.extended
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_ended_from_outside(run: Run, labelled: Path, tmp_path: Path, number: signal.Signals) -> None:
    """The temporary instance is removed, whoever ends the run."""
    run("eval", labelled, "--part", "retrieval")  # converts the model
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    shutil.rmtree(labelled)
    write_catalogue(labelled / "mug", 400)
    process = subprocess.Popen(
        command("eval", labelled), env={**os.environ, "TMPDIR": str(temporary)}, stderr=subprocess.PIPE
    )
    while not list(temporary.glob("*/instance/instance.db")):
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"Traceback" not in errors
    assert list(temporary.iterdir()) == []


def test_large_pictures_of_a_hostile_table(run: Run, tmp_path: Path) -> None:
    """What the table names is read as ``add`` would: a pipe, a folder and a huge file are failures like others."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(2**36)
    (tmp_path / "good.jpg").write_bytes(jpeg(1))
    names = ["pipe.jpg", "folder.jpg", "huge.jpg", "n" * 300 + ".jpg", "good.jpg"]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *(f"{name},3" for name in names)]))
    result = run("eval", tmp_path)
    assert (result.returncode, result.document["Categories"]["Pictures"]) == (1, 5)
    assert [failure["Code"] for failure in result.document["Failures"]] == [
        "PictureError", "PictureError", "InvalidPicContent", "PictureError",
    ]  # fmt: skip
