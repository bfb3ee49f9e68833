"""``imgsearch tune``."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgsearch.cli.opening import open_instance, warn_of_shared_storage
from imgsearch.cli.options import FormatOption, InstanceOption, LockTimeout, LogFile
from imgsearch.cli.output import Format, console, print_document, print_line, resolve_format

if TYPE_CHECKING:
    from imgsearch.instance import Instance
    from imgsearch.jobs.tuning import Retrieval, TuningReport
    from imgsearch.projection import Estimate

__all__ = ["tune"]


def tune(
    instance: InstanceOption = None,
    reset: Annotated[bool, typer.Option("--reset", help="Undo the tuning: restore the original features.")] = False,
    lock_timeout: LockTimeout = 0.0,
    log_file: LogFile = None,  # noqa: ARG001  # for whoever reports
    output_format: FormatOption = None,
) -> None:
    """Tune features to products with several pictures; kept only if held-out products gain."""
    chosen = resolve_format(output_format)
    begun = perf_counter()
    with open_instance(instance) as target:
        warn_of_shared_storage(target.folder)
        if reset:
            _reset(target, chosen, begun, lock_timeout)
            return
        report = target.tune(lock_timeout=lock_timeout)
    seconds = perf_counter() - begun
    if chosen is Format.TABLE:
        _print_table(report, seconds)
    elif chosen is Format.PATHS:
        if report.generation is not None:
            print_line(str(target.folder / report.generation.file_name))
    else:
        print_document(_document(report, seconds))


def _reset(target: Instance, chosen: Format, begun: float, lock_timeout: float) -> None:
    tuned = target.reset_tuning(lock_timeout=lock_timeout)
    seconds = perf_counter() - begun
    if chosen is Format.TABLE:
        console().print(f"Reset: no longer tuned, {seconds:.1f} s" if tuned else "Not tuned: nothing to reset")
    elif chosen is not Format.PATHS:
        print_document({"Success": True, "Reset": tuned, "Seconds": round(seconds, 3)})


def _document(report: TuningReport, seconds: float) -> dict[str, Any]:
    return {
        "Success": True,
        "Kept": report.kept,
        "Changed": report.changed,
        "Tuning": report.tuning,
        "Products": report.products,
        "Pictures": report.pictures,
        "Queries": report.queries,
        "Before": _retrieval(report.before),
        "After": _retrieval(report.after),
        "Gain": _retrieval(report.gain),
        "Generation": None if report.generation is None else report.generation.number,
        "Seconds": round(seconds, 3),
    }


def _retrieval(figures: Retrieval) -> dict[str, Any]:
    return {"Hit@1": _estimate(figures.hit1), "mAP": _estimate(figures.mean_average_precision)}


def _estimate(estimate: Estimate) -> dict[str, float]:
    return {"Mean": round(estimate.mean, 4), "Low": round(estimate.low, 4), "High": round(estimate.high, 4)}


def _print_table(report: TuningReport, seconds: float) -> None:
    from rich.table import Table

    table = Table(box=None)
    table.add_column("", style="bold")
    for name in ("hit@1", "mAP"):
        table.add_column(name)
    rows = {"before": report.before, "after": report.after, "gain": report.gain}
    for name, figures in rows.items():
        sign = "+" if name == "gain" else ""
        cells = (
            f"{one.mean:{sign}.3f} ({one.low:{sign}.3f} to {one.high:{sign}.3f})"
            for one in (figures.hit1, figures.mean_average_precision)
        )
        table.add_row(name, *cells)
    console().print(table)
    if not report.kept:
        verdict = "Not kept: held-out products do not gain significantly; nothing has changed"
        if report.tuning is not None:
            verdict += f" (the instance keeps its tuning {report.tuning}; 'imgsearch tune --reset' undoes that)"
    elif report.changed:
        verdict = f"Kept: tuned {report.tuning}"
    else:
        verdict = f"Kept: already tuned {report.tuning}; nothing has changed"
    console().print(
        f"{verdict}. Learned from {report.pictures} pictures of {report.products} products, measured with "
        f"{report.queries}, {seconds:.1f} s",
        markup=False,
    )
