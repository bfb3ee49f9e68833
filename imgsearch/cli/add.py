"""``imgsearch add``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from imgsearch.categories import Kind
from imgsearch.cli.failures import print_failures
from imgsearch.cli.options import (
    STDIN,
    Category,
    Crop,
    FormatOption,
    InstanceOption,
    KindOption,
    LockTimeout,
    Model,
    Nul,
    Quiet,
    RegionOption,
    Weights,
    Workers,
    announcer,
    instance_folder,
    picture_options,
)
from imgsearch.cli.output import Format, console, print_document, print_line, resolve_format, safe
from imgsearch.cli.report import warn
from imgsearch.errors import ImgsearchError, UsageError
from imgsearch.records import AddPicture, Attributes, Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgsearch.instance import Instance
    from imgsearch.records import Operation

__all__ = ["add"]

StrAttr = Annotated[str | None, typer.Option(metavar="TEXT", show_default=False)]
IntAttr = Annotated[int | None, typer.Option(metavar="NUMBER", show_default=False)]


def add(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH", show_default=False, help="Pictures, folders, or - for a list of paths on stdin."
        ),
    ] = None,
    instance: InstanceOption = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Take the lines of an increment.meta, pictures beside it."
        ),
    ] = None,
    product_id: Annotated[str | None, typer.Option(metavar="ID", show_default=False, help="ProductId of all.")] = None,
    pic_name: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="PicName of the one picture.")
    ] = None,
    product_from: Annotated[
        Literal["name", "parent"],
        typer.Option(help="ProductId: the PicName without suffix, or the name of the picture's folder."),
    ] = "name",
    category: Category = None,
    crop: Crop = True,
    region: RegionOption = None,
    custom_content: Annotated[
        str | None, typer.Option(metavar="TEXT", show_default=False, help="Any text; returned by searches.")
    ] = None,
    int_attr: IntAttr = None,
    int_attr2: IntAttr = None,
    int_attr3: IntAttr = None,
    int_attr4: IntAttr = None,
    str_attr: StrAttr = None,
    str_attr2: StrAttr = None,
    str_attr3: StrAttr = None,
    str_attr4: StrAttr = None,
    kind: KindOption = Kind.PRODUCT,
    model: Model = None,
    weights: Weights = None,
    workers: Workers = None,
    nul: Nul = False,
    include_hidden: Annotated[bool, typer.Option("--include-hidden", help="Hidden files and folders too.")] = False,
    lock_timeout: LockTimeout = 0.0,
    quiet: Quiet = False,
    output_format: FormatOption = None,
) -> None:
    """Index pictures: add new ones, replace changed ones, skip unchanged ones."""
    from imgsearch.sources.files import FileRequest

    chosen = resolve_format(output_format)
    attributes = Attributes(
        custom_content, int_attr, int_attr2, int_attr3, int_attr4, str_attr, str_attr2, str_attr3, str_attr4
    )
    request = FileRequest(
        product_id=product_id,
        pic_name=pic_name,
        product_from=product_from,
        options=picture_options(category, crop=crop, region=region),
        attributes=attributes,
        include_hidden=include_hidden,
    )
    given = paths or []
    _check(given, manifest, request, FileRequest(product_from=product_from, include_hidden=include_hidden))
    begun = perf_counter()
    with _open_or_make(instance, kind, model, weights, quiet=quiet) as target:
        outcomes = target.apply(
            _operations(given, manifest, request, nul=nul), workers=workers, lock_timeout=lock_timeout
        )
        total = None if manifest or STDIN in given else [Path(path) for path in given]
        summary = _Summary()
        for outcome in _progress(outcomes, total, quiet=quiet):
            summary.count(outcome)
            _print_outcome(outcome, chosen, quiet=quiet)
    summary.show(chosen, perf_counter() - begun, quiet=quiet)
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)


def _check(paths: list[str], manifest: Path | None, request: Any, plain: Any) -> None:
    if manifest is None and not paths:
        raise UsageError("nothing to add: name pictures or folders, - for a list on stdin, or --manifest FILE")
    if manifest is not None and (paths or request != plain):
        raise UsageError(
            "--manifest names the pictures, their ids and their attributes: leave out paths and these options"
        )
    if request.pic_name is not None and (len(paths) != 1 or paths[0] == STDIN or Path(paths[0]).is_dir()):
        raise UsageError("--pic-name names one picture: give exactly one file with it")


def _open_or_make(
    instance: Path | None, kind: Kind, model: str | None, weights: Path | None, *, quiet: bool
) -> Instance:
    from imgsearch.algorithm.models import DEFAULT_MODEL
    from imgsearch.instance import Instance

    folder = instance_folder(instance)
    announce = announcer(quiet=quiet)
    if not Instance.exists(folder):
        Instance.create(folder, kind, model=model or DEFAULT_MODEL, weights=weights, announce=announce)
        announce(f"Made a new {kind} instance in {safe(str(folder))}")
    opened = Instance.open(folder, announce=announce)
    if model is not None or weights is not None:
        opened.check_model(model or opened.model.name, weights)
    return opened


def _operations(paths: list[str], manifest: Path | None, request: Any, *, nul: bool) -> Iterator[Operation]:
    from imgsearch.sources import files, stdin
    from imgsearch.sources import manifest as manifests

    if manifest is not None:
        yield from _telling_of_ignored_regions(manifests.operations(manifest))
    for path in paths:
        listed = stdin.read_paths(sys.stdin.buffer, nul=nul) if path == STDIN else [Path(path)]
        yield from files.operations(listed, request)


def _telling_of_ignored_regions(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Hand on the operations, and warn at the end: once, for a manifest may have millions of lines."""
    first, count = "", 0
    for operation in operations:
        if isinstance(operation, AddPicture) and operation.options.region != operation.options.given_region:
            first = first or operation.source
            count += 1
        yield operation
    if count:
        lines = f"{count} line{'s' if count > 1 else ''}"
        warn(f"Crop false takes the whole picture, so the Region of {lines} is ignored, first {first}")


def _progress(outcomes: Iterable[Outcome], paths: list[Path] | None, *, quiet: bool) -> Iterable[Outcome]:
    """Show a bar on a terminal; the total is counted beside, where there are files to count."""
    if quiet or not sys.stderr.isatty():
        return outcomes
    from threading import Thread

    from tqdm import tqdm

    from imgsearch.sources.files import find_pictures

    bar: Any = tqdm(outcomes, unit=" pictures", dynamic_ncols=True, smoothing=0.05)

    def count() -> None:
        bar.total = sum(1 for _ in find_pictures(paths or []))
        bar.refresh()

    if paths is not None:
        Thread(target=count, daemon=True).start()
    counted: Iterable[Outcome] = bar
    return counted


def _failure(outcome: Outcome, error: ImgsearchError) -> dict[str, Any]:
    return {
        "Source": safe(outcome.source),
        "ProductId": outcome.product_id,
        "PicName": outcome.pic_name,
        "Code": error.code,
        "Message": error.message,
    }


def _print_outcome(outcome: Outcome, chosen: Format, *, quiet: bool) -> None:
    """With jsonl, the acknowledgement; with paths, what was written; else only failures, on stderr."""
    if chosen is Format.JSONL:
        line: dict[str, Any] = {
            "ProductId": outcome.product_id,
            "PicName": outcome.pic_name,
            "Status": outcome.status,
        }
        if outcome.error is not None:
            line |= {"Source": safe(outcome.source), "Code": outcome.error.code, "Message": outcome.error.message}
        elif outcome.status is not Status.DELETED:
            line |= {"CategoryId": outcome.category_id, "Region": str(outcome.region)}
        if not (quiet and outcome.status is not Status.FAILED):
            print_document(line, one_line=True)
    elif chosen is Format.PATHS and outcome.status in (Status.ADDED, Status.REPLACED):
        print_line(outcome.source)
    if outcome.error is not None and not chosen.is_json:
        warn(f"{outcome.source}: {outcome.error.message} ({outcome.error.code})")


class _Summary:
    """Counts what came of a run."""

    def __init__(self) -> None:
        self._counts: Counter[Status] = Counter()
        self._failures: list[dict[str, Any]] = []
        self._first_error: ImgsearchError | None = None

    def count(self, outcome: Outcome) -> None:
        """Take note of one outcome."""
        self._counts[outcome.status] += 1
        if outcome.error is not None:
            self._first_error = self._first_error or outcome.error
            self._failures.append(_failure(outcome, outcome.error))

    @property
    def exit_code(self) -> int:
        """0, 1 when some failed; a single picture ends with its own error's code."""
        if self._first_error is None:
            return 0
        return self._first_error.exit_code if self._counts.total() == 1 else 1

    def show(self, chosen: Format, seconds: float, *, quiet: bool) -> None:
        """Print the summary, unless quiet was asked for and all is well."""
        if quiet and not self._failures:
            return
        counts = {status.capitalize(): self._counts[status] for status in Status}
        if chosen.is_json:
            document = {
                "Success": not self._failures,
                **counts,
                "Failures": self._failures,
                "Seconds": round(seconds, 3),
            }
            print_document(document, one_line=chosen is Format.JSONL)
        elif chosen is Format.TABLE:
            self._print_table(seconds)

    def _print_table(self, seconds: float) -> None:
        done = ", ".join(f"{self._counts[status]} {status}" for status in Status if self._counts[status])
        rate = f", {self._counts.total() / seconds:.0f} pictures/s" if seconds > 1 else ""
        console().print(f"{done or 'nothing to do'} in {seconds:.1f} s{rate}")
        print_failures(self._failures)
