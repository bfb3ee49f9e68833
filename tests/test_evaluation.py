"""Evaluation: ground truth is read strictly, figures follow their definitions, nothing is left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imgsearch import Evaluation, Instance, Kind, PictureOptions, Region, SearchOptions, evaluate
from imgsearch.errors import InvalidGroundTruth
from imgsearch.evaluation.breakdown import Breakdown
from imgsearch.evaluation.calibration import CalibrationFigures, Grade, Kept
from imgsearch.evaluation.categories import CategoryFigures, Judgement, report
from imgsearch.evaluation.details import (
    Answer,
    Details,
    FoundBox,
    Prediction,
    Result,
    confusions,
    lowest_precisions,
    worst_boxes,
    wrong_first_results,
)
from imgsearch.evaluation.evaluate import _temporary_instance
from imgsearch.evaluation.ground_truth import BoxedPicture, CataloguePicture, GroundTruth, LabelledPicture, Part
from imgsearch.evaluation.retrieval import Found, RetrievalFigures
from imgsearch.evaluation.subjects import Overlap, OverlapFigures, SubjectFigures, intersection_over_union
from imgsearch.search.options import SearchResult
from imgsearch.search.searcher import Searcher
from imgsearch.service.categories import CATEGORIES
from imgsearch.types import Extracted, PictureSource
from imgsearch.values import Key
from imgsearch.vision.limits import Limits
from imgsearch.vision.models import DEFAULT_MODEL
from tests.conftest import ROOT
from tests.pictures import jpeg, write_catalogue
from tests.storage.builders import child

pytestmark = pytest.mark.networks

# Figures


@pytest.mark.parametrize(
    ("ranks", "relevant", "precision", "hits"),
    [
        ((1,), 1, 1.0, (True, True, True)),
        ((2,), 1, 0.5, (False, True, True)),
        ((1, 3), 3, (1 + 2 / 3) / 3, (True, True, True)),
        ((6, 10), 2, (1 / 6 + 2 / 10) / 2, (False, False, True)),
        ((11,), 1, 1 / 11, (False, False, False)),
        ((), 4, 0.0, (False, False, False)),
    ],
)
def test_one_query(ranks: tuple[int, ...], relevant: int, precision: float, hits: tuple[bool, ...]) -> None:
    """AP = (1/R) sum of the precisions at right ranks; hit@k = a right one among the first k."""
    found = Found(ranks, relevant)
    assert found.average_precision == pytest.approx(precision)
    assert tuple(found.hit(count) for count in (1, 5, 10)) == hits


def test_retrieval_figures_are_means_over_queries() -> None:
    """A query with many right pictures weighs as much as one with a single one; each result is graded once."""
    grades = (Grade(0.9, right=True), Grade(0.4, right=False))
    figures = RetrievalFigures.of(
        [Found((1,), 1, 1, 7, grades), Found((2, 4), 2, 2, 3), Found((), 5, None, 0), Found((8,), 1, 4, 10, grades)]
    )
    assert figures == RetrievalFigures(
        4,
        0.25,
        0.5,
        0.75,
        mean_average_precision=(1 + 0.5 + 0 + 1 / 8) / 4,
        mean_reciprocal_rank=(1 + 1 / 2 + 0 + 1 / 4) / 4,
        products10=20 / 4,
        calibration=CalibrationFigures.of([*grades, *grades]),
    )


def test_calibration_figures() -> None:
    """Bins have their lower bounds, the last one 1 as well; the error weighs each bin by its results."""
    grades = [
        *(Grade(0.1, right) for right in (True, False, False, False)),  # 0.25 right where 0.1 was promised
        *(Grade(score, right=True) for score in (0.95, 1.0)),  # 1 right where 0.975 was
        *(Grade(0.5, right) for right in (True, False)),  # as promised
        Grade(0.3, right=False),
        Grade(0.7, right=True),
    ]
    figures = CalibrationFigures.of(grades)
    assert (figures.results, figures.error) == (10, pytest.approx((4 * 0.15 + 2 * 0.025 + 0 + 0.3 + 0.3) / 10))
    assert [one.results for one in figures.bins] == [0, 4, 0, 1, 0, 2, 0, 1, 0, 2]
    assert (figures.bins[0].score, figures.bins[0].right) == (None, None)
    assert (figures.bins[9].lower, figures.bins[9].upper, figures.bins[9].score) == (0.9, 1.0, pytest.approx(0.975))
    assert figures.bins[1].right == 0.25
    assert figures.kept == (
        Kept(0.3, pytest.approx(4 / 6), 4 / 5),
        Kept(0.5, pytest.approx(4 / 5), 4 / 5),
        Kept(0.7, 1.0, 3 / 5),
    )


def test_every_tenth_opens_a_bin() -> None:
    """Whatever binary fractions make of it."""
    assert [one.results for one in CalibrationFigures.of([Grade(n / 10, right=True) for n in range(10)]).bins] == [
        1
    ] * 10


def test_calibration_of_nothing() -> None:
    """No results, no figures: not even a division by zero. Nor is there a share of right ones where none is right."""
    figures = CalibrationFigures.of([])
    assert (figures.results, figures.error) == (0, None)
    assert figures.kept[0] == Kept(0.3, None, None)
    assert Kept.of(0.3, [Grade(0.4, right=False)]) == Kept(0.3, 0.0, None)


def answer(name: str, product: str, precision: float, *first: tuple[str, float]) -> Answer:
    """One with that average precision and these results: product and Score."""
    results = (
        Result(CataloguePicture(Path(f"{p}.jpg"), Key(p, "x")), n, score) for n, (p, score) in enumerate(first, 1)
    )
    ranks = (round(1 / precision),) if precision else ()
    return Answer(CataloguePicture(Path(name), Key(product, name)), Found(ranks, 1), tuple(results))


def test_misses_are_in_order() -> None:
    """The surest wrong first result first; the lowest average precision first; what is right is no miss."""
    answers = [
        answer("right", "p", 1.0, ("p", 0.9), ("q", 0.99)),
        answer("unsure", "p", 0.5, ("q", 0.2), ("p", 0.1)),
        answer("sure", "p", 0.25, ("q", 0.95), ("q", 0.9)),
        answer("nothing", "p", 0.0),
        answer("middling", "p", 0.1, ("r", 0.5)),
    ]
    assert [one.query.file.name for one in wrong_first_results(answers)] == ["sure", "middling", "unsure"]
    assert [one.query.file.name for one in lowest_precisions(answers)] == ["nothing", "middling", "sure", "unsure"]


def test_confusions_and_boxes_are_in_order() -> None:
    """The most frequent confusion first, with how many of it are accepted; the least overlap first."""

    def prediction(label: int, predicted: int, *accept: int) -> Prediction:
        return Prediction(LabelledPicture(Path("a.jpg"), label, frozenset(accept), None), predicted)

    given = [prediction(3, 4), prediction(3, 3), prediction(5, 6), prediction(5, 6, 6), prediction(0, 1)]
    assert [(one.label, one.predicted, len(one.pictures), one.accepted) for one in confusions(given)] == [
        (5, 6, 2, 1), (0, 1, 1, 0), (3, 4, 1, 0),
    ]  # fmt: skip
    boxes = [
        FoundBox(BoxedPicture(Path("a.jpg"), Region(0, 1, 0, 1), None), 9, 9, Region(0, 2, 0, 2), overlap)
        for overlap in (0.5, 1.0, 0.0, 0.7)
    ]
    assert [box.overlap for box in worst_boxes(boxes)] == [0.0, 0.5, 0.7]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (Region(0, 10, 0, 10), 1.0),
        (Region(5, 15, 0, 10), 1 / 3),
        (Region(0, 5, 0, 5), 0.25),
        (Region(10, 20, 0, 10), 0.0),
        (Region(20, 30, 20, 30), 0.0),
    ],
    ids=str,
)
def test_intersection_over_union(other: Region, expected: float) -> None:
    """Shared area by covered area; touching is not sharing."""
    assert intersection_over_union(Region(0, 10, 0, 10), other) == pytest.approx(expected)
    assert intersection_over_union(other, Region(0, 10, 0, 10)) == pytest.approx(expected)


def test_subject_figures() -> None:
    """The bounds 0.5 and 0.7 belong to what they bound; the floor is reckoned beside."""
    figures = SubjectFigures.of([Overlap(0.5, 0.1), Overlap(0.7, 0.6), Overlap(0.0, 0.2), Overlap(0.4, 0.3)])
    assert figures == SubjectFigures(4, OverlapFigures(0.4, 0.5, 0.25), OverlapFigures(0.3, 0.25, 0.0))


def test_category_figures() -> None:
    """Macro figures are means over the ids with ten pictures and more; the others are listed."""
    bag, shoe, toy = (
        LabelledPicture(Path("a.jpg"), label, frozenset({5}), source)
        for label, source in ((3, "x"), (4, "y"), (20, None))
    )
    judged = [(bag, Judgement.of(bag, 3 if number < 6 else 5)) for number in range(10)]
    judged += [(shoe, Judgement.of(shoe, 4 if number < 15 else 3)) for number in range(20)]
    judged += [(toy, Judgement.of(toy, None)) for _ in range(2)]
    found = report(judged)
    assert found.by_source.overall == CategoryFigures(32, 21 / 32, 25 / 32)
    assert found.by_source.groups == {"x": CategoryFigures(10, 0.6, 1.0), "y": CategoryFigures(20, 0.75, 0.75)}
    assert found.by_category[20] == CategoryFigures(2, 0.0, 0.0)
    assert (found.rare, found.macro_strict, found.macro_lenient) == ([20], 0.675, 0.875)
    assert report(judged[-2:]).macro_strict is None


def test_breakdown_by_group() -> None:
    """What belongs to no group counts over all only."""
    assert Breakdown.of([("b", 1), (None, 2), ("a", 3), ("b", 4)], sum) == Breakdown(10, {"a": 3, "b": 5})


# Ground truth


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


RETRIEVAL_TABLE = ("file,split,product_id", "a.jpg,gallery,p", "b.jpg,query,p")
CATEGORY_TABLE = ("file,label,accept,source", "a.jpg,Bag,digital-device 88888888,shop", "b.jpg,4,,")
SUBJECT_TABLE = ("file,x1,y1,x2,y2,kind", "a.jpg,1,2,30,40,photo")


@pytest.mark.parametrize("nested", [False, True], ids=["in-the-folder", "in-folders-of-their-own"])
def test_each_part_is_found_by_itself(tmp_path: Path, nested: bool) -> None:
    """A table lies in the folder, or in the folder of its part; paths are relative to the table."""
    homes = {part: tmp_path / part if nested else tmp_path for part in Part}
    write(homes[Part.RETRIEVAL] / "groundtruth.csv", *RETRIEVAL_TABLE)
    write(homes[Part.CATEGORIES] / "labels.csv", *CATEGORY_TABLE)
    write(homes[Part.SUBJECTS] / "boxes.csv", *SUBJECT_TABLE)
    truth = GroundTruth.read(tmp_path)
    assert truth.parts() == list(Part)
    assert truth.retrieval is not None
    assert [picture.file for picture in truth.retrieval.queries] == [homes[Part.RETRIEVAL] / "b.jpg"]
    assert truth.categories is not None
    assert truth.categories[0] == LabelledPicture(
        homes[Part.CATEGORIES] / "a.jpg", 3, frozenset({22, 88888888}), "shop"
    )
    assert truth.categories[1].source is None
    assert truth.subjects is not None
    assert (truth.subjects[0].box, truth.subjects[0].kind) == (Region(1, 30, 2, 40), "photo")
    assert GroundTruth.read(tmp_path, [Part.SUBJECTS]).parts() == [Part.SUBJECTS]


def test_spreadsheet_tables_are_read(tmp_path: Path) -> None:
    """Byte order mark, CRLF, quoted values, blanks, blank lines and further columns are no trouble."""
    table = '\ufefffile, label ,note\r\n\r\n"a, b.jpg", Bag ,"two\r\nlines"\r\n./c.jpg,3,\r\n'
    (tmp_path / "labels.csv").write_bytes(table.encode())
    categories = GroundTruth.read(tmp_path).categories
    assert categories is not None
    assert [(picture.file.name, picture.label) for picture in categories] == [("a, b.jpg", 3), ("c.jpg", 3)]


def test_folders_are_products_where_there_is_no_table(tmp_path: Path) -> None:
    """Pairs are searched, single pictures are in the way, and what ``add`` passes over is passed over."""
    for product, count in (("mug", 3), ("chair", 1), ("a/bag", 2), (".hidden", 2), ("@eaDir", 2)):
        write_catalogue(tmp_path / product, count)
    write_catalogue(tmp_path, 2)
    (tmp_path / "mug" / "notes.txt").write_text("no picture")
    retrieval = GroundTruth.read(tmp_path).retrieval
    assert retrieval is not None
    assert retrieval.leave_one_out
    assert {picture.key.pic_name for picture in retrieval.gallery} == {
        "mug/0000.jpg", "mug/0001.jpg", "mug/0002.jpg", "chair/0000.jpg", "a/bag/0000.jpg", "a/bag/0001.jpg",
    }  # fmt: skip
    assert {picture.key.product_id for picture in retrieval.queries} == {"mug", "bag"}
    assert all(picture.file.is_file() for picture in retrieval.gallery)


@pytest.mark.parametrize(
    ("table", "lines", "said"),
    [
        ("groundtruth.csv", [], "line 1: the column file is missing"),
        ("groundtruth.csv", ["file,split"], "line 1: the column product_id is missing"),
        ("groundtruth.csv", ["file,split,product_id,file"], "line 1: the column 'file' appears twice"),
        ("groundtruth.csv", ["file,split,product_id"], "line 1: there are no lines below the header"),
        ("groundtruth.csv", [*RETRIEVAL_TABLE, "c.jpg,test,p"], "line 4: split 'test' is neither gallery nor query"),
        (
            "groundtruth.csv",
            [*RETRIEVAL_TABLE, "c.jpg,query,q"],
            "line 4: no gallery picture has the query's product_id 'q'",
        ),
        ("groundtruth.csv", RETRIEVAL_TABLE[:2], "no picture is a query"),
        ("groundtruth.csv", [*RETRIEVAL_TABLE, "c.jpg,query,"], "line 4: ProductId is empty"),
        ("groundtruth.csv", [*RETRIEVAL_TABLE, f"c.jpg,query,{'x' * 513}"], "line 4: ProductId has 513 characters"),
        ("groundtruth.csv", [*RETRIEVAL_TABLE, "./b.jpg,query,p"], "line 4: file './b.jpg' is already in line 3"),
        ("groundtruth.csv", [*RETRIEVAL_TABLE, "c.jpg,query"], "line 4: 2 values under 3 columns"),
        ("groundtruth.csv", [*RETRIEVAL_TABLE, "c.jpg,query,p,q"], "line 4: 4 values under 3 columns"),
        ("groundtruth.csv", [*RETRIEVAL_TABLE, "../c.jpg,query,p"], "line 4: file '../c.jpg' must be a relative path"),
        (
            "groundtruth.csv",
            [*RETRIEVAL_TABLE, "/etc/passwd,query,p"],
            "line 4: file '/etc/passwd' must be a relative path",
        ),
        (
            "groundtruth.csv",
            [*RETRIEVAL_TABLE, "x/../../c.jpg,query,p"],
            "line 4: file 'x/../../c.jpg' must be a relative path",
        ),
        (
            "groundtruth.csv",
            [*RETRIEVAL_TABLE, "a\x00b.jpg,query,p"],
            r"line 4: file 'a\x00b.jpg' must be a relative path",
        ),
        ("groundtruth.csv", [*RETRIEVAL_TABLE, ",query,p"], "line 4: file '' must be a relative path"),
        ("groundtruth.csv", [*RETRIEVAL_TABLE, '"c.jpg,query,p'], "line 4: not CSV"),
        ("groundtruth.csv", [*RETRIEVAL_TABLE, f"{'c' * 200_000},query,p"], "line 4: not CSV"),
        (
            "groundtruth.csv",
            [f"{RETRIEVAL_TABLE[0]},category", "a.jpg,gallery,p,Hat"],
            "line 2: category: category 'Hat'",
        ),
        (
            "groundtruth.csv",
            [f"{RETRIEVAL_TABLE[0]},source", "a.jpg,gallery,p,all"],
            "line 2: a source cannot be named",
        ),
        ("labels.csv", ["file,label", "a.jpg,11"], "line 2: label: category '11' does not exist"),
        ("labels.csv", ["file,label", "a.jpg,"], "line 2: label: category '' does not exist"),
        ("labels.csv", ["file,label,accept", "a.jpg,3,4 x"], "line 2: accept: category 'x' does not exist"),
        ("boxes.csv", ["file,x1,y1,x2,y2", "a.jpg,1,2,3"], "line 2: 4 values under 5 columns"),
        ("boxes.csv", ["file,x1,y1,x2,y2", "a.jpg,1,2,x,4"], "line 2: the box '1,2,x,4' is not"),
        ("boxes.csv", ["file,x1,y1,x2,y2", "a.jpg,1,2,3.5,4"], "line 2: the box '1,2,3.5,4' is not"),
        ("boxes.csv", ["file,x1,y1,x2,y2", "a.jpg,-1,2,3,4"], "line 2: the box '-1,2,3,4' is not"),
        ("boxes.csv", ["file,x1,y1,x2,y2", "a.jpg,3,2,3,4"], "line 2: the box '3,2,3,4' is not"),
        ("boxes.csv", ["file,x1,y1,x2,y2", f"a.jpg,1,2,{'9' * 5000},4"], "line 2: the box '1,2,9"),
        ("boxes.csv", ["file,x1,y1,x2,y2", "a.jpg,1,2,3,nan"], "line 2: the box '1,2,3,nan' is not"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_table_that_cannot_be_used(tmp_path: Path, table: str, lines: list[str], said: str) -> None:
    """File, line and reason are told; the message is one line and not long."""
    path = write(tmp_path / table, *lines)
    with pytest.raises(InvalidGroundTruth) as caught:
        GroundTruth.read(tmp_path)
    message = caught.value.message
    assert str(path) in message
    assert said in message
    assert "\n" not in message
    assert len(message) < len(str(path)) + 500
    assert caught.value.exit_code == 3


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    """Other encodings, folders, pipes, links that lead nowhere and huge files are told, not waited for or read."""
    table = tmp_path / "labels.csv"
    table.write_bytes(b"file,label\na.jpg,3\n\xff.jpg,3\n")
    with pytest.raises(InvalidGroundTruth, match="line 3: not UTF-8"):
        GroundTruth.read(tmp_path)
    with table.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidGroundTruth, match="larger than"):
        GroundTruth.read(tmp_path)
    table.unlink()
    for make in (table.mkdir, lambda: os.mkfifo(table), lambda: table.symlink_to("nowhere")):
        make()
        with pytest.raises(InvalidGroundTruth, match=r"not a regular file|cannot be read"):
            GroundTruth.read(tmp_path)
        table.rmdir() if table.is_dir() else table.unlink()


@pytest.mark.parametrize("parts", [[Part.CATEGORIES], list(Part)], ids=str)
def test_nothing_to_measure(tmp_path: Path, parts: list[Part]) -> None:
    """The message names the layouts of the parts that were asked for."""
    write_catalogue(tmp_path / "lonely", 1)
    with pytest.raises(InvalidGroundTruth, match=r"labels\.csv with the columns file,label") as caught:
        GroundTruth.read(tmp_path, parts)
    assert ("one folder per product" in caught.value.message) == (Part.RETRIEVAL in parts)
    for missing in (tmp_path / "nowhere", tmp_path / "lonely" / "0000.jpg"):
        with pytest.raises(InvalidGroundTruth, match="is not a folder"):
            GroundTruth.read(missing, parts)


# Measuring


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Pictures of all parts: two products of two pictures, labels, boxes."""
    folder = tmp_path / "labelled"
    write_catalogue(folder / "pictures", 6)
    rows = [f"pictures/{n:04}.jpg,{'query' if n in (2, 5) else 'gallery'},{'pq'[n // 3]},s{n // 3}" for n in range(6)]
    write(folder / "groundtruth.csv", "file,split,product_id,source", *rows)
    every = " ".join(map(str, CATEGORIES))
    write(folder / "labels.csv", "file,label,accept", *(f"pictures/{n:04}.jpg,{3 + n % 2},{every}" for n in range(4)))
    write(
        folder / "boxes.csv",
        "file,x1,y1,x2,y2,kind",
        "pictures/0000.jpg,0,0,80,60,photo",
        "pictures/0001.jpg,0,0,160,120,drawing",
    )
    return folder


@pytest.mark.extended
def test_all_parts_in_one_run(labelled: Path) -> None:
    """Each part with its groups, and progress told to the end of each step."""
    steps: dict[str, tuple[int, int]] = {}
    result = evaluate(labelled, progress=lambda step, done, total: steps.update({step: (done, total)}))
    assert steps == {"indexing": (4, 4), "searching": (2, 2), "categories": (4, 4), "subjects": (2, 2)}
    assert (result.model, result.kind, result.failures) == (DEFAULT_MODEL, Kind.PRODUCT, [])
    assert result.retrieval is not None
    assert (result.retrieval.overall.queries, list(result.retrieval.groups)) == (2, ["s0", "s1"])
    assert result.categories is not None
    assert result.categories.by_source.overall.pictures == 4
    assert result.subjects is not None
    assert list(result.subjects.groups) == ["drawing", "photo"]
    assert result.subjects.groups["photo"].floor.mean == 0.25
    assert result.subjects.groups["drawing"].floor == OverlapFigures(1.0, 1.0, 1.0)


def test_figures_are_of_what_the_pipeline_finds(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Categories and subjects come from ``Instance.analyse``, under the options that were given."""
    asked: list[PictureOptions] = []

    def analyse(
        _self: Instance, pictures: Iterable[tuple[PictureSource, PictureOptions]], *, workers: int | None
    ) -> Iterator[Extracted]:
        for picture, options in pictures:
            asked.append(options)
            number = int(Path(getattr(picture, "path")).stem)  # noqa: B009
            category = (3, 88888888, 9, 4)[number]
            yield Extracted(
                b"", None, Region(0, 80, 0, 120 - 60 * (number % 2)), (), category, (), np.zeros(1, np.float32)
            )

    monkeypatch.setattr(Instance, "analyse", analyse)
    table = labelled / "labels.csv"
    write(table, "file,label,accept", *(f"pictures/{n:04}.jpg,{3 + n % 2},88888888" for n in range(4)))
    result = evaluate(labelled, [Part.CATEGORIES, Part.SUBJECTS])
    assert result.retrieval is None
    assert result.categories is not None
    assert result.categories.by_source.overall == CategoryFigures(4, 0.5, 0.75)
    assert result.subjects is not None
    assert result.subjects.groups["photo"].found == OverlapFigures(0.5, 1.0, 0.0)
    assert result.subjects.groups["drawing"].found == OverlapFigures(0.25, 0.0, 0.0)
    assert set(asked) == {PictureOptions()}


@pytest.mark.extended
def test_a_picture_that_fails_is_missed_and_told(labelled: Path) -> None:
    """In the gallery, as a query, with a label, with a box: it counts, and the others go on."""
    whole = evaluate(labelled, any_category=True)
    (labelled / "pictures" / "0005.jpg").unlink()
    (labelled / "pictures" / "0000.jpg").write_bytes(b"broken")
    result = evaluate(labelled, any_category=True)
    assert [(Path(failure.source).name, failure.error.code) for failure in result.failures] == [
        ("0000.jpg", "UnsupportedPicFormat"),  # gallery
        ("0005.jpg", "PictureError"),  # query
        ("0000.jpg", "UnsupportedPicFormat"),  # label
        ("0000.jpg", "UnsupportedPicFormat"),  # box
    ]
    assert whole.retrieval is not None
    assert result.retrieval is not None
    assert result.retrieval.overall.queries == 2
    assert result.retrieval.groups["s1"] == RetrievalFigures(1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, CalibrationFigures.of([]))
    assert 0 < result.retrieval.groups["s0"].mean_average_precision <= 0.5, "one of two right pictures is not there"
    assert result.categories is not None
    assert result.categories.by_source.overall.lenient == 0.75, "every id is accepted, so only the broken one is wrong"
    assert result.subjects is not None
    assert result.subjects.groups["photo"] == SubjectFigures(
        1, OverlapFigures(0.0, 0.0, 0.0), OverlapFigures(0.0, 0.0, 0.0)
    )


@pytest.mark.extended
def test_a_box_outside_its_picture_is_missed_and_told(labelled: Path) -> None:
    """The size of a picture is known only when it is read, so this is no fault of the whole table."""
    write(labelled / "boxes.csv", "file,x1,y1,x2,y2", "pictures/0000.jpg,0,0,161,10", "pictures/0001.jpg,0,0,160,120")
    result = evaluate(labelled, [Part.SUBJECTS])
    assert [failure.error.code for failure in result.failures] == ["InvalidRegion"]
    assert result.subjects is not None
    assert result.subjects.overall.floor.mean == 0.5


def leave_one_out(folder: Path) -> Evaluation:
    result = evaluate(folder, any_category=True)
    assert result.retrieval is not None
    return result


@pytest.mark.extended
def test_leaving_one_out(tmp_path: Path) -> None:
    """Each picture looks for the others of its product; a broken one is told once, and missed by the others too."""
    for product, first in (("mug", 0), ("chair", 10)):
        write_catalogue(tmp_path / product, 3, first=first)
    write_catalogue(tmp_path / "single", 1, first=30)
    whole = leave_one_out(tmp_path)
    assert whole.retrieval is not None
    assert (whole.retrieval.overall.queries, whole.retrieval.groups, whole.failures) == (6, {}, [])
    (tmp_path / "mug" / "0001.jpg").write_bytes(b"broken")
    broken = leave_one_out(tmp_path)
    assert broken.retrieval is not None
    assert (broken.retrieval.overall.queries, len(broken.failures)) == (6, 1)
    assert broken.retrieval.overall.mean_average_precision < whole.retrieval.overall.mean_average_precision


@pytest.mark.extended
def test_copies_of_one_file_are_not_looked_for(tmp_path: Path) -> None:
    """Leaving out the query leaves out its copies, so they cannot be missed."""
    write_catalogue(tmp_path / "mug", 2)
    shutil.copy(tmp_path / "mug" / "0000.jpg", tmp_path / "mug" / "copy.jpg")
    result = leave_one_out(tmp_path).retrieval
    assert result is not None
    overall = result.overall
    assert (overall.queries, overall.hit1, overall.mean_average_precision) == (3, 1.0, 1.0)
    assert (overall.mean_reciprocal_rank, overall.products10) == (1.0, 1.0)
    assert overall.calibration.results == 1 + 1 + 2, "the query and its copies are left out"
    (tmp_path / "mug" / "0001.jpg").unlink()
    with pytest.raises(InvalidGroundTruth, match="the same file"):
        evaluate(tmp_path)


@pytest.mark.extended
def test_the_whole_ranking_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right picture beyond the first page is found there, and no page is asked for in vain."""
    monkeypatch.setattr("imgsearch.evaluation.retrieval.MAX_NUM", 2)
    monkeypatch.setattr("imgsearch.evaluation.retrieval.MAX_RESULTS", 6)
    write_catalogue(tmp_path, 9)
    rows = [f"{n:04}.jpg,gallery,p{n}" for n in range(8)]
    write(tmp_path / "groundtruth.csv", "file,split,product_id", *rows, "0008.jpg,query,p7")
    asked: list[SearchOptions] = []
    looked_at: list[PictureSource] = []
    look = Searcher.with_picture

    def watch(
        self: Searcher, picture: PictureSource, options: PictureOptions
    ) -> Callable[[SearchOptions], SearchResult]:
        looked_at.append(picture)
        ask = look(self, picture, options)

        def answer(wanted: SearchOptions) -> SearchResult:
            asked.append(wanted)
            return ask(wanted)

        return answer

    monkeypatch.setattr(Searcher, "with_picture", watch)
    ranks = {}
    for number in range(8):
        asked.clear()
        looked_at.clear()
        write(tmp_path / "groundtruth.csv", "file,split,product_id", *rows, f"0008.jpg,query,p{number}")
        figures = evaluate(tmp_path, any_category=True).retrieval
        assert figures is not None
        precision = figures.overall.mean_average_precision
        ranks[number] = round(1 / precision) if precision else None
        pages = 3 if ranks[number] is None else (ranks[number] + 1) // 2
        plain = [wanted.start for wanted in asked if not wanted.distinct_product]
        assert plain == list(range(0, 2 * pages, 2))
        distinct = [wanted.start for wanted in asked if wanted.distinct_product]
        assert distinct == plain, "each product has one picture here"
        assert figures.overall.mean_reciprocal_rank == precision
        assert len(looked_at) == 1
        assert all(wanted.any_category and not wanted.exclude_self for wanted in asked)
    assert sorted(rank or 0 for rank in ranks.values()) == [0, 0, 1, 2, 3, 4, 5, 6]


@pytest.mark.extended
def test_details_of_each_picture(labelled: Path) -> None:
    """Who wants them gets each query with its results, each prediction, each box; the figures stay the same."""
    details = Details()
    plain, result = evaluate(labelled), evaluate(labelled, details=details)
    assert (result.retrieval, result.subjects) == (plain.retrieval, plain.subjects)
    assert [answer.query.file.name for answer in details.answers] == ["0002.jpg", "0005.jpg"]
    for one in details.answers:
        assert [shown.rank for shown in one.first] == list(range(1, len(one.first) + 1))
        assert all(shown.picture.file.is_file() and shown.picture.source for shown in one.first)
        assert one.right is not None
        assert one.is_right(one.right)
        assert one.right.rank == (one.found.ranks[0] if one.found.ranks else None)
    assert [prediction.picture.file.name for prediction in details.predictions] == [f"{n:04}.jpg" for n in range(4)]
    assert [(box.width, box.height) for box in details.boxes] == [(160, 120), (160, 120)]
    assert result.subjects is not None
    assert sum(box.overlap for box in details.boxes) / 2 == result.subjects.overall.found.mean


@pytest.mark.extended
def test_a_right_picture_is_named_where_none_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the query itself nor a copy of it, which nobody looks for."""
    monkeypatch.setattr("imgsearch.evaluation.retrieval.MAX_RESULTS", 1)
    monkeypatch.setattr("imgsearch.evaluation.retrieval.MAX_NUM", 1)
    for product, first in (("mug", 0), ("chair", 10)):
        write_catalogue(tmp_path / product, 2, first=first)
    shutil.copy(tmp_path / "mug" / "0000.jpg", tmp_path / "mug" / "copy.jpg")
    details = Details()
    evaluate(tmp_path, details=details, kind=Kind.GENERIC)
    missed = [answer for answer in details.answers if not answer.found.ranks]
    assert missed
    for one in missed:
        assert one.right is not None
        assert (one.right.rank, one.right.score) == (None, None)
        assert one.is_right(one.right)
        assert one.right.picture.file.read_bytes() != one.query.file.read_bytes()


@pytest.mark.extended
def test_settings_of_an_instance(folder: Path, tmp_path: Path) -> None:
    """Its limits and kind are those that are measured with; it is not touched, not even by a lock."""
    for number in range(4):
        path = tmp_path / "shop" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number, (60, 60)))
    assert len(evaluate(tmp_path / "shop").failures) == 4
    Instance.create(folder, Kind.GENERIC, limits=replace(Limits(), min_side=50))
    with Instance.open(folder) as instance:
        before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
        result = evaluate(tmp_path / "shop", alike=instance, workers=1)
        assert sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir()) == before
        assert instance.info().items == 0
    assert (result.kind, result.failures) == (Kind.GENERIC, [])


@pytest.mark.extended
def test_parts_that_the_settings_leave_out(labelled: Path) -> None:
    """A generic instance has no categories, whole pictures no subjects: it is said, or refused if nothing is left."""
    said: list[str] = []
    result = evaluate(labelled, kind=Kind.GENERIC, crop=False, announce=said.append)
    assert (result.categories, result.subjects) == (None, None)
    assert [line.partition(":")[0] for line in said if "measured" in line] == ["Left out", "Left out"]
    for part, options in ((Part.CATEGORIES, {"kind": Kind.GENERIC}), (Part.SUBJECTS, {"crop": False})):
        with pytest.raises(InvalidGroundTruth, match=f"no {part} are measured"):
            evaluate(labelled, [part], **options)


@pytest.mark.extended
def test_nothing_is_left_behind(labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary instance never holds a picture, and is gone at the end, also after an error."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    pictures = [path.read_bytes() for path in (labelled / "pictures").iterdir()]
    parts = [data[len(data) // 2 :][:32] for data in pictures]
    seen: set[str] = set()

    def look(_step: str, _done: int, _total: int) -> None:
        for path in place.rglob("*"):
            if path.is_file():
                seen.add(path.name)
                data = path.read_bytes()
                assert not any(part in data for part in parts)

    evaluate(labelled, progress=look)
    assert "instance.db" in seen
    assert list(place.iterdir()) == []

    def fail(_step: str, _done: int, _total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate(labelled, progress=fail)
    assert list(place.iterdir()) == []


@pytest.mark.extended
def test_the_sample_catalogue_by_its_folders() -> None:
    """Nearly every picture of the catalogue has another one of its product among its first five."""
    result = evaluate(ROOT / "sample_data" / "catalogue", kind=Kind.GENERIC).retrieval
    assert result is not None
    assert result.overall.queries == 74
    assert result.overall.hit5 >= 0.95
    assert result.overall.mean_average_precision >= 0.78


# Killed

EVALUATE_AND_WAIT = """
import sys
from imgsearch.evaluation.evaluate import _temporary_instance
from imgsearch.instance import Instance
with _temporary_instance(Instance.create, None, print) as instance:
    print(instance.folder.parent, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_evaluation_leaves_goes_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of one that still runs stays, and so does what is none of ours."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    living, killed = (child(EVALUATE_AND_WAIT) for _ in range(2))
    folders = []
    for process in (living, killed):
        assert process.stdout is not None
        folders.append(Path(process.stdout.readline().strip()))
    killed.kill()
    killed.communicate()
    foreign = tmp_path / "imgsearch-eval-notes"
    foreign.mkdir()
    (foreign / "notes.txt").touch()
    assert sorted(tmp_path.iterdir()) == sorted([*folders, foreign])
    with _temporary_instance(Instance.create, None, print) as instance:
        assert sorted(tmp_path.iterdir()) == sorted([folders[0], foreign, instance.folder.parent])
    living.communicate()  # which ends it
    assert list(tmp_path.iterdir()) == [foreign]
