"""What all benchmarks share: where data lies, how a table is printed, how a machine is described."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.results import Recorder, processor, shown
from imgsearch.vision.precision import BF16, F32, VARIABLE, asked_precision, has_bfloat16

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
EVALUATION_DATA = Path(os.environ.get("IMGSEARCH_EVALUATION_DATA", ROOT.parent / "shared" / "data"))
"""Photos with ground truth, not part of the project; ``docs/cli.md`` tells the layout."""

SIZES = [int(size) for size in os.environ.get("IMGSEARCH_BENCHMARK_SIZES", "1000,1000000").split(",")]
"""Of the synthetic catalogues; the smallest is what the others are compared with."""

recorder: Recorder | None = None
"""Of the benchmark that runs, if it is recorded."""


def precisions() -> list[str]:
    """What networks can calculate in here: what ``IMGSEARCH_PRECISION`` names, else all that the processor has."""
    if (asked := asked_precision()) is not None:
        return [asked]
    if has_bfloat16():
        return [BF16, F32]
    print("this processor has no bfloat16: figures are those of float32 only")
    return [F32]


@contextmanager
def calculating_in(precision: str) -> Iterator[None]:
    """A block in which networks that are loaded on the CPU calculate in that precision."""
    before = os.environ.get(VARIABLE, "")
    os.environ[VARIABLE] = precision
    try:
        yield
    finally:
        os.environ[VARIABLE] = before


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print one table with date and processor, and keep it if the run is recorded."""
    rows = list(rows)
    if recorder is not None:
        recorder.take(title, columns, rows)
    table = Table(title=f"{title}\n{date.today().isoformat()}, {processor()}", title_justify="left")  # noqa: DTZ011
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*map(shown, row))
    Console(width=120).print(table)
