"""``imgsearch eval``."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from imgsearch.cli.failure_table import print_failures
from imgsearch.cli.figures import document, figure_tables
from imgsearch.cli.opening import announcer
from imgsearch.cli.options import OUTPUT, SELECTION, Crop, FormatOption, Model, Weights, Workers
from imgsearch.cli.output import Format, console, print_document, resolve_format, text
from imgsearch.errors import UsageError
from imgsearch.evaluation.ground_truth import ALL, Part
from imgsearch.service.categories import Kind

if TYPE_CHECKING:
    from imgsearch.cli.figures import FigureTable
    from imgsearch.evaluation.evaluate import Evaluation

__all__ = ["evaluate"]

WORST = 50


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False, help="The labelled folder.")],
    part: Annotated[
        list[Part] | None,
        typer.Option("--part", show_default=False, help="Measure only this part; repeatable. By default all."),
    ] = None,
    instance: Annotated[
        Path | None,
        typer.Option(
            "-i",
            "--instance",
            metavar="DIR",
            show_default=False,
            help="Measure with the model, kind and limits of this instance, which is not changed.",
        ),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--kind", show_default=False, help="With categories (the default), or without.")
    ] = None,
    model: Model = None,
    weights: Weights = None,
    crop: Crop = True,
    any_category: Annotated[
        bool,
        typer.Option(
            "--any-category", help="Search all categories, not only that of the query.", rich_help_panel=SELECTION
        ),
    ] = False,
    workers: Workers = None,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", show_default=False, help="Use only queries of this source; repeatable."),
    ] = None,
    left_out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="Also measure each source with parameters trained without it.",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="URL",
            show_default=False,
            help="Measure in PostgreSQL, at an address where no instance is; what is made there is removed at the end.",
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            "--index", metavar="URL", show_default=False, help="With --engine: measure with an index in Milvus."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Write an HTML page with figures and the worst misses.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    worst: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, show_default=False, help=f"Misses of each kind on the page; by default {WORST}."
        ),
    ] = None,
    output_format: FormatOption = None,
) -> None:
    """Measure search, categories and subjects on a folder of labelled pictures."""
    from imgsearch.evaluation.details import Details
    from imgsearch.evaluation.evaluate import evaluate as measure
    from imgsearch.instance import Instance
    from imgsearch.vision.models import DEFAULT_MODEL

    chosen = resolve_format(output_format)
    if chosen is Format.PATHS:
        raise UsageError("eval supports the formats table, json and jsonl")
    if instance is not None and (kind, model, weights) != (None, None, None):
        raise UsageError("an instance has a fixed model and kind: leave out --instance or these options")
    if worst is not None and html is None:
        raise UsageError("--worst sets the number of misses on the page: use it with --html")
    if html is not None:
        from imgsearch.cli.html_page import check_writable

        check_writable(html)
    _exit_on_signals()
    details = None if html is None else Details()
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
            sources=source or (),
            left_out=left_out,
            engine=engine,
            index=index,
            details=details,
            announce=announce,
            progress=stack.enter_context(_Bars()).show,
        )
    figures = document(result)
    if chosen is Format.TABLE:
        _print_tables(result, figures["Failures"])
    else:
        print_document(figures, one_line=chosen is Format.JSONL)
    if html is not None and details is not None:
        from imgsearch.cli.evaluation_page import write

        write(html, folder, result, details, worst or WORST)
    if result.failures:
        raise typer.Exit(1)


def _exit_on_signals() -> None:
    """Turn termination signals into exceptions, so that the temporary instance is removed."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


class _Bars:
    """A progress bar per step, on a terminal only."""

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
        """Show the progress of a step."""
        if not sys.stderr.isatty():
            return
        if step != self._step:
            from tqdm import tqdm

            self._close()
            self._step, self._bar = step, tqdm(total=total, desc=step, unit=" pictures", dynamic_ncols=True)
        self._bar.update(done - self._bar.n)


def _print_tables(result: Evaluation, failures: list[dict[str, Any]]) -> None:
    for table in figure_tables(result):
        _print_table(table)
    print_failures(failures, len(failures))
    console().print(f"{result.model}, {result.kind}, {result.seconds:.1f} s", markup=False)


def _print_table(figures: FigureTable) -> None:
    from rich.table import Table

    table = Table(title=figures.title, title_justify="left")
    for number, name in enumerate(figures.columns):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for name, cells in figures.cells():
        table.add_row(text(name, "bold" if name == ALL else ""), *cells)
    console().print(table)
