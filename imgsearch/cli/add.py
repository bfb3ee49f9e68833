"""``imgsearch add``."""

from __future__ import annotations

import sys
from contextlib import ExitStack, nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from imgsearch.cli.errors import warn
from imgsearch.cli.options import (
    STDIN,
    Category,
    Crop,
    DeviceOption,
    FormatOption,
    InstanceOption,
    IntAttr,
    KindOption,
    LockTimeout,
    Model,
    Nul,
    Quiet,
    RegionOption,
    StrAttr,
    Weights,
    Workers,
    check_device,
    existing,
    open_instance,
    open_or_make,
    picture_options,
    warn_of_shared_storage,
)
from imgsearch.cli.output import Format, resolve_format, safe
from imgsearch.cli.summary import Summary, dry_run_of, print_outcome, warning_of_ignored_regions, with_progress
from imgsearch.errors import UsageError
from imgsearch.service.categories import Kind
from imgsearch.values import Attributes
from imgsearch.vision.devices import CPU

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgsearch.instance import Instance
    from imgsearch.sources.port import Source
    from imgsearch.types import Outcome

__all__ = ["add"]


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
            metavar="FILE", show_default=False, help="Process an increment.meta, with its pictures in the same folder."
        ),
    ] = None,
    reindex: Annotated[
        bool, typer.Option("--reindex", help="Recompute the features of all items from their original pictures.")
    ] = False,
    product_id: Annotated[
        str | None, typer.Option(metavar="ID", show_default=False, help="ProductId of all pictures.")
    ] = None,
    pic_name: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="PicName, if there is one picture.")
    ] = None,
    product_from: Annotated[
        Literal["name", "parent"],
        typer.Option(help="Derive ProductId from the PicName without suffix, or from the picture's folder."),
    ] = "name",
    category: Category = None,
    crop: Crop = True,
    region: RegionOption = None,
    custom_content: Annotated[
        str | None, typer.Option(metavar="TEXT", show_default=False, help="Any text, returned by searches.")
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
    device: DeviceOption = CPU,
    nul: Nul = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only report what would be done; decodes no picture and stores nothing.")
    ] = False,
    include_hidden: Annotated[bool, typer.Option("--include-hidden", help="Include hidden files and folders.")] = False,
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
    if reindex:
        others = (given, manifest, request != FileRequest(), model, weights, kind is not Kind.PRODUCT, nul, dry_run)
        _check_reindex(others=any(others))
        _reindex(instance, workers, device, lock_timeout, quiet=quiet, chosen=chosen)
        return
    _check(given, manifest, request, FileRequest(product_from=product_from, include_hidden=include_hidden))
    check_device(device)
    begun = perf_counter()
    source = _source(given, manifest, request, nul=nul)
    with ExitStack() as stack:
        target: Instance | None
        if dry_run:
            source.check()
            target = stack.enter_context(existing(instance, kind, model, weights, quiet=quiet) or nullcontext())
            outcomes: Iterable[Outcome] = dry_run_of(source, target)
        else:
            target = stack.enter_context(
                open_or_make(instance, kind, model, weights, lock_timeout=lock_timeout, quiet=quiet)
            )
            warn_of_shared_storage(target.folder)
            read = source.operations(target.has_item)
            outcomes = target.apply_stream(
                read if manifest is None else warning_of_ignored_regions(read),
                workers=workers,
                device=device,
                lock_timeout=lock_timeout,
            )
        summary = Summary()
        for outcome in with_progress(outcomes, source.countable, quiet=quiet):
            summary.count(outcome)
            print_outcome(outcome, chosen, quiet=quiet)
        if dry_run:
            summary.add_facts(DryRun=True)
    summary.show(chosen, perf_counter() - begun, quiet=quiet)
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)


def _check_reindex(*, others: bool) -> None:
    if others:
        raise UsageError(
            "--reindex reads the pictures from their original locations with their original options: leave out "
            "paths, --manifest, --dry-run and options of pictures, keys and models"
        )


def _reindex(
    instance: Path | None, workers: int | None, device: str, lock_timeout: float, *, quiet: bool, chosen: Format
) -> None:
    check_device(device)
    begun = perf_counter()
    summary = Summary(is_batch=True)
    with open_instance(instance, quiet=quiet) as target:
        warn_of_shared_storage(target.folder)
        renews = target.needs_reindex
        if not renews and not quiet:
            typer.echo(
                f"{safe(str(target.folder))} already has the features of this release; "
                "perceptual hashes that pictures lack are computed",
                err=True,
            )
        outcomes = target.reindex_stream(workers=workers, device=device, lock_timeout=lock_timeout)
        for outcome in with_progress(outcomes, None, quiet=quiet, total=target.count()):
            summary.count(outcome)
            print_outcome(outcome, chosen, quiet=quiet)
        summary.add_facts(Reindexed=not target.needs_reindex)
        if target.needs_reindex:
            warn(
                f"{target.folder} is unchanged and keeps its old features: put the failed pictures back in place, or "
                "delete their items, then run this command again; finished work is kept"
            )
    summary.show(chosen, perf_counter() - begun, quiet=quiet)
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)


def _check(paths: list[str], manifest: Path | None, request: Any, plain: Any) -> None:
    from imgsearch.sources.files import is_folder

    if manifest is None and not paths:
        raise UsageError("nothing to add: give pictures or folders, - for a list on stdin, or --manifest FILE")
    if manifest is not None and (paths or request != plain):
        raise UsageError("--manifest gives pictures, ids and attributes: leave out paths and these options")
    if request.pic_name is not None and (len(paths) != 1 or paths[0] == STDIN or is_folder(Path(paths[0]))):
        raise UsageError("--pic-name applies to one picture: give exactly one file with it")


def _source(paths: list[str], manifest: Path | None, request: Any, *, nul: bool) -> Source:
    from imgsearch.sources import stdin
    from imgsearch.sources.local import LocalFiles, LocalManifest

    if manifest is not None:
        return LocalManifest(manifest)
    if STDIN not in paths:
        named = [Path(path) for path in paths]
        return LocalFiles(named, request, named)

    def listed() -> Iterator[Path]:
        for path in paths:
            if path == STDIN:
                yield from stdin.read_paths(sys.stdin.buffer, nul=nul)
            else:
                yield Path(path)

    return LocalFiles(listed(), request)
