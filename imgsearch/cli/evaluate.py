"""``imgsearch eval``."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from imgsearch.categories import CATEGORIES, Kind
from imgsearch.cli.failures import print_failures
from imgsearch.cli.options import Crop, FormatOption, Model, Weights, Workers, announcer
from imgsearch.cli.output import Format, console, print_document, resolve_format, safe, text
from imgsearch.errors import UsageError
from imgsearch.evaluation.ground_truth import ALL, Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.evaluation.breakdown import Breakdown
    from imgsearch.evaluation.categories import CategoryFigures, CategoryReport
    from imgsearch.evaluation.evaluate import Evaluation
    from imgsearch.evaluation.retrieval import RetrievalFigures
    from imgsearch.evaluation.subjects import OverlapFigures, SubjectFigures

__all__ = ["evaluate"]

FIGURE_DIGITS = 6


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False, help="The labelled folder.")],
    part: Annotated[
        list[Part] | None,
        typer.Option("--part", show_default=False, help="Only this part; can be given again. By default all."),
    ] = None,
    instance: Annotated[
        Path | None,
        typer.Option(
            "-i",
            "--instance",
            metavar="DIR",
            show_default=False,
            help="Measure with the model, kind and limits of this instance, which is not touched.",
        ),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--kind", show_default=False, help="With categories (the default), or without.")
    ] = None,
    model: Model = None,
    weights: Weights = None,
    crop: Crop = True,
    any_category: Annotated[
        bool, typer.Option("--any-category", help="Search all categories, not only that of the query.")
    ] = False,
    workers: Workers = None,
    output_format: FormatOption = None,
) -> None:
    """Measure search, categories and subjects on a folder of pictures whose answers are known."""
    from imgsearch.algorithm.models import DEFAULT_MODEL
    from imgsearch.evaluation.evaluate import evaluate as measure
    from imgsearch.instance import Instance

    chosen = resolve_format(output_format)
    if chosen is Format.PATHS:
        raise UsageError("eval prints figures: its formats are table, json and jsonl")
    if instance is not None and (kind, model, weights) != (None, None, None):
        raise UsageError("an instance has its model and kind already: leave out --instance, or the other options")
    _end_in_order()
    with ExitStack() as stack:
        announce = announcer()
        alike = None if instance is None else stack.enter_context(Instance.open(instance, announce=announce))
        result = measure(
            folder,
            part or tuple(Part),
            alike=alike,
            kind=kind or Kind.PRODUCT,
            model=model or DEFAULT_MODEL,
            weights=weights,
            crop=crop,
            any_category=any_category,
            workers=workers,
            announce=announce,
            progress=stack.enter_context(_Bars()).show,
        )
    document = _document(result)
    if chosen is Format.TABLE:
        _print_tables(result, document["Failures"])
    else:
        print_document(document, one_line=chosen is Format.JSONL)
    if result.failures:
        raise typer.Exit(1)


def _end_in_order() -> None:
    """Let a request to end unwind the program, so that the temporary instance is removed."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


class _Bars:
    """A bar for each step, on a terminal only."""

    def __init__(self) -> None:
        self._step: str | None = None
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, step: str, done: int, total: int) -> None:
        """Show how far a step is."""
        if not sys.stderr.isatty():
            return
        if step != self._step:
            from tqdm import tqdm

            self._close()
            self._step, self._bar = step, tqdm(total=total, desc=step, unit=" pictures", dynamic_ncols=True)
        self._bar.update(done - self._bar.n)


# The document


def _document(result: Evaluation) -> dict[str, Any]:
    parts = {
        "Retrieval": result.retrieval and dict(_named(result.retrieval, _retrieval_fields)),
        "Categories": result.categories and _category_document(result.categories),
        "Subjects": result.subjects and dict(_named(result.subjects, _subject_fields)),
    }
    return {
        "Success": not result.failures,
        "Model": result.model,
        "Kind": result.kind,
        **{name: value for name, value in parts.items() if value is not None},
        "Failures": [
            {"Source": safe(failure.source), "Code": failure.error.code, "Message": failure.error.message}
            for failure in result.failures
        ],
        "Seconds": round(result.seconds, 3),
    }


def _named(figures: Breakdown[Any], fields: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield ALL, fields(figures.overall)
    for name, group in figures.groups.items():
        yield name, fields(group)


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, FIGURE_DIGITS)


def _retrieval_fields(figures: RetrievalFigures) -> dict[str, Any]:
    return {
        "Queries": figures.queries,
        "Hit@1": _share(figures.hit1),
        "Hit@5": _share(figures.hit5),
        "Hit@10": _share(figures.hit10),
        "mAP": _share(figures.mean_average_precision),
    }


def _category_fields(figures: CategoryFigures) -> dict[str, Any]:
    return {"Pictures": figures.pictures, "Strict": _share(figures.strict), "Lenient": _share(figures.lenient)}


def _category_document(report: CategoryReport) -> dict[str, Any]:
    return {
        **_category_fields(report.by_source.overall),
        "MacroStrict": _share(report.macro_strict),
        "MacroLenient": _share(report.macro_lenient),
        "Rare": report.rare,
        "PerCategory": {
            str(number): {"Name": CATEGORIES[number], **_category_fields(figures)}
            for number, figures in report.by_category.items()
        },
        "PerSource": {name: _category_fields(figures) for name, figures in report.by_source.groups.items()},
    }


def _overlap_fields(figures: OverlapFigures) -> dict[str, Any]:
    return {
        "MeanIoU": _share(figures.mean),
        "IoU@0.5": _share(figures.share_50),
        "IoU@0.7": _share(figures.share_70),
    }


def _subject_fields(figures: SubjectFigures) -> dict[str, Any]:
    return {
        "Pictures": figures.pictures,
        **_overlap_fields(figures.found),
        "Floor": _overlap_fields(figures.floor),
    }


# The tables


def _print_tables(result: Evaluation, failures: list[dict[str, Any]]) -> None:
    if result.retrieval is not None:
        rows = {name: list(fields.values()) for name, fields in _named(result.retrieval, _retrieval_fields)}
        _print_table("Retrieval", ["source", "queries", "hit@1", "hit@5", "hit@10", "mAP"], rows)
    if result.categories is not None:
        _print_categories(result.categories)
    if result.subjects is not None:
        rows = {}
        for name, fields in _named(result.subjects, _subject_fields):
            floor = fields.pop("Floor")
            rows[name] = [*fields.values(), floor["MeanIoU"]]
        _print_table("Subjects", ["kind", "pictures", "mean IoU", ">= 0.5", ">= 0.7", "whole picture"], rows)
    print_failures(failures)
    console().print(f"{result.model}, {result.kind}, {result.seconds:.1f} s", markup=False)


def _print_categories(report: CategoryReport) -> None:
    rows: dict[str, list[Any]] = {ALL: list(_category_fields(report.by_source.overall).values())}
    rows["mean of the categories"] = ["", _share(report.macro_strict), _share(report.macro_lenient)]
    for number, figures in report.by_category.items():
        rare = ", rare: not in the mean" if number in report.rare else ""
        rows[f"{number} {CATEGORIES[number]}{rare}"] = list(_category_fields(figures).values())
    _print_table("Categories", ["category", "pictures", "strict", "lenient"], rows)
    groups = {name: list(_category_fields(figures).values()) for name, figures in report.by_source.groups.items()}
    if groups:
        _print_table("Categories by source", ["source", "pictures", "strict", "lenient"], groups)


def _print_table(title: str, columns: list[str], rows: dict[str, list[Any]]) -> None:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for name, values in rows.items():
        cells = [
            f"{value:.3f}" if isinstance(value, float) else "–" if value is None else str(value) for value in values
        ]
        table.add_row(text(name, "bold" if name == ALL else ""), *cells)
    console().print(table)
