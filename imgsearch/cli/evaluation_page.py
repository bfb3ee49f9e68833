"""The page of ``eval --html``: figures, calibration of Score, and misses with pictures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from imgsearch.cli import html_page
from imgsearch.cli.charts import Curve, Dots, chart
from imgsearch.cli.figures import document, figure_tables
from imgsearch.cli.html_page import Thumbnails, shown
from imgsearch.errors import InputError
from imgsearch.evaluation.calibration import Kept
from imgsearch.evaluation.details import (
    confusions,
    lowest_precisions,
    worst_boxes,
    wrong_first_results,
)
from imgsearch.service.categories import CATEGORIES
from imgsearch.sources.files import FilePicture

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from imgsearch.cli.figures import FigureTable
    from imgsearch.evaluation.calibration import CalibrationFigures, Grade
    from imgsearch.evaluation.details import Answer, Confusion, Details, FoundBox, Result
    from imgsearch.evaluation.evaluate import Evaluation
    from imgsearch.evaluation.ground_truth import CataloguePicture
    from imgsearch.values import Region

__all__ = ["write"]

SIDE: Final = 200
STEPS: Final = 20
"""Number of minimum Scores along the curves."""
EXAMPLES: Final = 5
"""Pictures shown per confusion."""

STYLE: Final = """
:root { color-scheme: light dark; --text: #222; --faint: #5f6368; --page: #fafafa; --card: #fff; --edge: #d5d5d5;
  --good: #15803d; --bad: #b91c1c; --one: #1d4ed8; --two: #b45309; --bar: #1d4ed833 }
@media (prefers-color-scheme: dark) { :root { --text: #e6e6e6; --faint: #a3a7ad; --page: #16181b; --card: #202327;
  --edge: #42464c; --good: #4ade80; --bad: #f87171; --one: #93c5fd; --two: #fbbf24; --bar: #93c5fd33 } }
* { box-sizing: border-box }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 0 auto; padding: 1rem;
  color: var(--text); background: var(--page); overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: .5rem 0 } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem } p { margin: .5rem 0 } nav a { display: inline-block; margin-right: 1rem }
a { color: var(--one) } .faint { color: var(--faint) }
.table { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal }
caption { text-align: left; font-weight: 600; padding: .25rem 0 }
th, td { text-align: right; padding: .2rem .5rem; border-bottom: 1px solid var(--edge); vertical-align: bottom }
th:first-child { text-align: left; overflow-wrap: anywhere; min-width: 8rem } tbody th { font-weight: 400 }
td { white-space: nowrap } #failures :is(th, td) { text-align: left; white-space: normal }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem } .charts figure { width: 340px; max-width: 100% }
figure { margin: 0 } figcaption { font-size: .85rem }
.row { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(165px, 46%), 1fr)); gap: .5rem }
.row figure { padding: .4rem; background: var(--card); border: 1px solid var(--edge); border-radius: 6px }
.row figure.query { border: 2px solid var(--one) }
.row .picture { height: 150px; display: flex; align-items: center; justify-content: center; color: var(--faint) }
.row .picture img { max-width: 100%; max-height: 150px }
.row .picture svg { width: 100%; height: 150px }
b.right { color: var(--good) } b.wrong { color: var(--bad) } b.query { color: var(--one) }
.chart { display: block; width: 100% } .chart text { font: 11px system-ui, sans-serif; fill: var(--text) }
.grid { stroke: var(--edge); stroke-width: 1; fill: none } .bar { fill: var(--bar) }
polyline { fill: none; stroke-width: 2 } polyline.one { stroke: var(--one) } circle.one { fill: var(--one) }
polyline.two { stroke: var(--two); stroke-dasharray: 6 4 }
polyline.ideal { stroke: var(--faint); stroke-dasharray: 2 3 }
rect.truth, rect.found { fill: none; stroke-width: 3; vector-effect: non-scaling-stroke }
rect.truth { stroke: #16a34a } rect.found { stroke: #ea580c; stroke-dasharray: 6 3 }
i.truth, i.found { display: inline-block; width: 1.6rem; border-top: 3px solid #16a34a; vertical-align: middle }
i.found { border-top: 3px dashed #ea580c }
"""


def write(target: Path, folder: Path, result: Evaluation, details: Details, worst: int) -> None:
    """Write the page.

    Args:
        target: the file.
        folder: the measured folder.
        result: its figures.
        details: results per picture.
        worst: maximum number of misses shown per kind.

    Raises:
        StorageFull, StorageUnwritable
    """
    tables = list(figure_tables(result))
    pictures = _Pictures(Thumbnails(result.limits, SIDE))
    sections = [
        section
        for section in (
            _figures(tables),
            _score(result, details),
            *_misses(pictures, details, worst),
            _confusions(pictures, details),
            _boxes(pictures, details, worst),
            _failures(result),
        )
        if section.content
    ]
    links = "".join(f'<a href="#{section.name}">{shown(section.title)}</a>' for section in sections)
    settings = f"{result.model}, {result.kind}, {result.seconds:.1f} s"
    html_page.write(
        target,
        f"imgsearch eval {folder}",
        STYLE,
        f"<header><h1>imgsearch eval {shown(folder)}</h1><p>{shown(settings)}</p></header><nav>{links}</nav>"
        f"<main>{''.join(section.html() for section in sections)}</main>",
    )


@dataclass(frozen=True, slots=True)
class _Section:
    """A section of the page; left out if it has no content."""

    name: str
    title: str
    content: str

    def html(self) -> str:
        return f'<section id="{self.name}"><h2>{shown(self.title)}</h2>{self.content}</section>'


# Figures


def _figures(tables: Iterable[FigureTable]) -> _Section:
    return _Section("figures", "Figures", "".join(map(_table, tables)))


def _table(table: FigureTable) -> str:
    head = "".join(f'<th scope="col">{shown(name)}</th>' for name in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{shown(name)}</th>{"".join(f"<td>{shown(cell)}</td>" for cell in cells)}</tr>'
        for name, cells in table.cells()
    )
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{shown(table.title)}">'
        f"<table><caption>{shown(table.title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


# Score


def _score(result: Evaluation, details: Details) -> _Section:
    content = ""
    grades = [grade for answer in details.answers for grade in answer.found.grades]
    if result.retrieval is not None and grades:
        calibration = result.retrieval.overall.calibration
        content = f'<div class="charts">{_precision_chart(grades)}{_calibration_chart(calibration)}</div>'
    return _Section("score", "What Score means", content)


def _precision_chart(grades: list[Grade]) -> str:
    curve = [Kept.of(step / STEPS, grades) for step in range(STEPS)]
    precisions = [(one.threshold, one.precision) for one in curve if one.precision is not None]
    recalls = [(one.threshold, one.recall) for one in curve if one.recall is not None]
    said = "; ".join(
        f"from {one.threshold:.1f}: {_share(one.precision)}, {_share(one.recall)}" for one in curve[:: STEPS // 5]
    )
    drawn = chart(
        f"Precision of the ten best results, and share of the right ones kept, by minimum Score. {said}",
        ("minimum Score (--min-score)", "share"),
        [Curve("two", recalls), Curve("one", precisions)],
    )
    return (
        f"<figure>{drawn}<figcaption>Solid: share of results at or above a Score that are right (precision). "
        "Dashed: share of the right results that are kept.</figcaption></figure>"
    )


def _calibration_chart(figures: CalibrationFigures) -> str:
    filled = [(one, one.score, one.right) for one in figures.bins if one.score is not None and one.right is not None]
    said = "; ".join(f"{one.lower:.1f} to {one.upper:.1f}: {right:.2f}" for one, _, right in filled)
    drawn = chart(
        f"Share of right results by Score. {said}",
        ("Score", "share right"),
        [Curve("ideal", [(0, 0), (1, 1)]), Dots("one", [(score, right) for _, score, right in filled])],
        [(one.lower, one.upper, right) for one, _, right in filled],
    )
    return (
        f"<figure>{drawn}<figcaption>Share right by Score: on the dotted line, Score equals the probability that a "
        f"result is right. Expected calibration error {_share(figures.error)}, {figures.results} results."
        "</figcaption></figure>"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


# Pictures


class _Pictures:
    """Pictures with captions."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        self._thumbnails = thumbnails

    def figure(self, file: Path, alternative: str, caption: Iterable[str], css_class: str = "") -> str:
        """A picture with its caption, given as lines of HTML."""
        image = self._thumbnails.image(FilePicture(file), alternative)
        return _framed(image, caption, css_class)

    def boxed(self, box: FoundBox, alternative: str, caption: Iterable[str]) -> str:
        """A picture with both boxes drawn over it."""
        try:
            address = self._thumbnails.address(FilePicture(box.picture.file))
        except InputError as error:
            return _framed(shown(error.message), caption)
        drawn = (
            f'<svg role="img" aria-label="{shown(alternative)}" viewBox="0 0 {box.width} {box.height}">'
            f'<image href="{address}" width="{box.width}" height="{box.height}" preserveAspectRatio="none"/>'
            f"{_rectangle(box.picture.box, 'truth')}{_rectangle(box.region, 'found')}</svg>"
        )
        return _framed(drawn, caption)


def _framed(image: str, caption: Iterable[str], css_class: str = "") -> str:
    lines = "<br>".join(caption)
    return f'<figure class="{css_class}"><div class="picture">{image}</div><figcaption>{lines}</figcaption></figure>'


def _rectangle(region: Region, css_class: str) -> str:
    width, height = region.x2 - region.x1, region.y2 - region.y1
    return f'<rect class="{css_class}" x="{region.x1}" y="{region.y1}" width="{width}" height="{height}"/>'


# Misses of searches


def _misses(pictures: _Pictures, details: Details, worst: int) -> Iterator[_Section]:
    sure = wrong_first_results(details.answers)
    first = sure[:worst]
    yield _Section(
        "wrong",
        "Wrong first results",
        _miss_list(pictures, first, len(sure), "Sorted by falling Score of the wrong first result."),
    )
    above = {answer.query.file for answer in first}
    low = [answer for answer in lowest_precisions(details.answers) if answer.query.file not in above]
    yield _Section(
        "low",
        "Lowest average precision",
        _miss_list(pictures, low[:worst], len(low), "Other queries, lowest average precision first."),
    )


def _miss_list(pictures: _Pictures, answers: list[Answer], count: int, order: str) -> str:
    if not answers:
        return ""
    return _lead(f"{len(answers)} of {count}. {order}") + "".join(_miss(pictures, answer) for answer in answers)


def _lead(words: str) -> str:
    return f'<p class="faint">{shown(words)}</p>'


def _miss(pictures: _Pictures, answer: Answer) -> str:
    query = answer.query
    figures = [
        pictures.figure(
            query.file,
            f"Query, product {query.key.product_id}",
            ['<b class="query">query</b>', *_names(query)],
            "query",
        ),
        *(_result(pictures, answer, result) for result in answer.first),
    ]
    right = answer.right
    if right is not None and (right.rank is None or right.rank > len(answer.first)):
        figures.append(_result(pictures, answer, right))
    precision = f"average precision {answer.found.average_precision:.3f}"
    return (
        f'<article><h3>{shown(query.key.pic_name)} <span class="faint">{precision}</span></h3>'
        f'<div class="row">{"".join(figures)}</div></article>'
    )


def _result(pictures: _Pictures, answer: Answer, result: Result) -> str:
    word = "right" if answer.is_right(result) else "wrong"
    where = "not among the results" if result.rank is None else f"rank {result.rank}"
    facts = [] if result.score is None else ["same picture" if result.identical else f"Score {result.score:.3f}"]
    return pictures.figure(
        result.picture.file,
        f"{where}, {word}: product {result.picture.key.product_id}",
        [f'<b class="{word}">{word}</b>, {where}', *facts, *_names(result.picture)],
    )


def _names(picture: CataloguePicture) -> list[str]:
    source = [] if picture.source is None else [f'<span class="faint">{shown(picture.source)}</span>']
    return [shown(picture.key.product_id), f'<span class="faint">{shown(picture.key.pic_name)}</span>', *source]


# Misses of categories and subjects


def _confusions(pictures: _Pictures, details: Details) -> _Section:
    found = "".join(_confusion(pictures, one) for one in confusions(details.predictions))
    lead = _lead("True category → predicted category, the most frequent first.") if found else ""
    return _Section("categories", "Confused categories", lead + found)


def _confusion(pictures: _Pictures, confusion: Confusion) -> str:
    label, predicted = CATEGORIES[confusion.label], CATEGORIES[confusion.predicted]
    accepted = f", {confusion.accepted} of them acceptable" if confusion.accepted else ""
    figures = "".join(
        pictures.figure(picture.file, f"{label}, predicted {predicted}", [shown(picture.file.name)])
        for picture in islice(confusion.pictures, EXAMPLES)
    )
    return (
        f"<article><h3>{shown(label)} → {shown(predicted)}: {len(confusion.pictures)}"
        f'<span class="faint">{accepted}</span></h3><div class="row">{figures}</div></article>'
    )


def _boxes(pictures: _Pictures, details: Details, worst: int) -> _Section:
    found = worst_boxes(details.boxes)
    if not found:
        return _Section("subjects", "", "")
    figures = "".join(_box(pictures, box) for box in found[:worst])
    legend = '<p><i class="truth"></i> true box &nbsp; <i class="found"></i> region found</p>'
    lead = _lead(f"{min(worst, len(found))} of {len(found)}. Smallest overlap (IoU) first.")
    return _Section("subjects", "Worst boxes", f'{lead}{legend}<div class="row">{figures}</div>')


def _box(pictures: _Pictures, box: FoundBox) -> str:
    kind = [] if box.picture.kind is None else [f'<span class="faint">{shown(box.picture.kind)}</span>']
    return pictures.boxed(
        box,
        f"True box {box.picture.box}, found {box.region}, of {box.width} by {box.height} pixels",
        [f"<b>IoU {box.overlap:.3f}</b>", shown(box.picture.file.name), *kind],
    )


# Failures


def _failures(result: Evaluation) -> _Section:
    rows = "".join(
        f'<tr><th scope="row">{shown(failure["Source"])}</th><td>{shown(failure["Code"])}</td>'
        f"<td>{shown(failure['Message'])}</td></tr>"
        for failure in document(result)["Failures"]
    )
    if not rows:
        return _Section("failures", "", "")
    head = "".join(f'<th scope="col">{name}</th>' for name in ("picture", "code", "message"))
    table = f'<div class="table" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return _Section("failures", "Pictures that could not be used", table)
