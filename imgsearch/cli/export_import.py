"""``imgsearch export`` and ``imgsearch import``."""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgsearch import own_process
from imgsearch.cli.opening import open_instance
from imgsearch.cli.options import FormatOption, InstanceOption, LockTimeout, LogFile, Quiet, ShardOption
from imgsearch.cli.output import Format, console, print_document, print_line, resolve_format, safe
from imgsearch.cli.summary import Summary, print_outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["export", "import_"]


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="Target folder; missing or empty.")],
    instance: InstanceOption = None,
    quiet: Quiet = False,
    log_file: LogFile = None,  # noqa: ARG001  # for whoever reports
    output_format: FormatOption = None,
) -> None:
    """Export all items with their features to files that any program, and import, can read."""
    from imgsearch.transfer.file_format import FEATURES_NAME, ITEMS_NAME, STAMP_NAME, TUNING_NAME

    chosen = resolve_format(output_format)
    begun = perf_counter()
    with open_instance(instance, quiet=quiet) as target:
        items = sum(1 for _ in _with_progress(target.export_stream(folder), target.count(), quiet=quiet))
    seconds = perf_counter() - begun
    names = (ITEMS_NAME, FEATURES_NAME, TUNING_NAME, STAMP_NAME)
    paths = [folder / name for name in names if name != TUNING_NAME or (folder / name).exists()]
    if chosen is Format.PATHS:
        for path in paths:
            print_line(str(path))
    elif quiet:
        return
    elif chosen is Format.TABLE:
        console().print(f"Exported {items} items to {safe(str(folder))} in {seconds:.1f} s", markup=False)
    else:
        document = {
            "Success": True,
            "Items": items,
            "Files": [safe(str(path)) for path in paths],
            "Bytes": sum(path.stat().st_size for path in paths),
            "Seconds": round(seconds, 3),
        }
        print_document(document, one_line=chosen is Format.JSONL)


def import_(
    folder: Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="A folder written by export.")],
    instance: InstanceOption = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild/--no-rebuild", help="Rebuild the index at the end if it is due.")
    ] = True,
    shard: ShardOption = None,
    lock_timeout: LockTimeout = 0.0,
    quiet: Quiet = False,
    log_file: LogFile = None,  # noqa: ARG001  # for whoever reports
    output_format: FormatOption = None,
) -> None:
    """Import items exported from an instance with the same model; needs no pictures."""
    chosen = resolve_format(output_format)
    begun = perf_counter()
    summary = Summary(is_batch=True, shard=shard)
    with open_instance(instance, quiet=quiet) as target:
        own_process.collect_rarely()
        outcomes = target.import_stream(folder, rebuild=rebuild, shard=shard, lock_timeout=lock_timeout)
        for outcome in _with_progress(outcomes, None, quiet=quiet):
            summary.count(outcome)
            print_outcome(outcome, chosen, quiet=quiet)
    summary.show(chosen, perf_counter() - begun, quiet=quiet)
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)


def _with_progress(steps: Iterable[Any], total: int | None, *, quiet: bool) -> Iterable[Any]:
    if quiet or not sys.stderr.isatty():
        return steps
    from tqdm import tqdm

    bar: Iterable[Any] = tqdm(steps, total=total, unit=" items", dynamic_ncols=True, smoothing=0.05)
    return bar
