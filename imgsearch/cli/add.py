"""``imgsearch add``."""

from __future__ import annotations

import sys
from contextlib import ExitStack, nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgsearch.cli.errors import tell, warn
from imgsearch.cli.folder_options import (
    DryRun,
    Exclude,
    FollowLinks,
    IncludeHidden,
    ProductFrom,
    ProductId,
    Report,
    ReportFile,
    check_product,
    patterns,
)
from imgsearch.cli.opening import existing, new_instance_discarded, open_instance, open_or_make, warn_of_shared_storage
from imgsearch.cli.options import (
    DOWNLOADS,
    PICTURES,
    STDIN,
    TIMEOUT_SECONDS,
    AllowPrivate,
    Category,
    Crop,
    CustomContent,
    DeviceOption,
    Downloads,
    FormatOption,
    InstanceOption,
    IntAttr,
    KindOption,
    LockTimeout,
    LogFile,
    Model,
    Nul,
    Quiet,
    RegionOption,
    ShardOption,
    StrAttr,
    Timeout,
    Weights,
    Workers,
    check_device,
    check_no_links,
    picture_options,
)
from imgsearch.cli.output import Format, resolve_format, safe
from imgsearch.cli.summary import Summary, dry_run_of, print_outcome, warning_of_ignored_regions, with_progress
from imgsearch.errors import UsageError
from imgsearch.shards import Shard
from imgsearch.sources.feed import Feed, FeedOptions, ManifestFormat
from imgsearch.values import Attributes
from imgsearch.vision.devices import CPU

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgsearch.instance import Instance
    from imgsearch.sources.port import Source
    from imgsearch.sources.walking import PassedOver
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
            metavar="FILE",
            show_default=False,
            help="Process a manifest (increment.meta, JSON, CSV, TSV, a product feed), or - for one on stdin.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    manifest_format: Annotated[
        ManifestFormat,
        typer.Option(
            "--manifest-format", help="Format of the manifest; auto: told by its first line.", rich_help_panel=PICTURES
        ),
    ] = "auto",
    item_group: Annotated[
        bool,
        typer.Option(
            "--item-group",
            help="Product feeds: ProductId is item_group_id, if there is one, not id.",
            rich_help_panel=PICTURES,
        ),
    ] = False,
    allow_private: AllowPrivate = False,
    timeout: Timeout = TIMEOUT_SECONDS,
    downloads: Downloads = DOWNLOADS,
    reindex: Annotated[
        bool, typer.Option("--reindex", help="Recompute the features of all items from their original pictures.")
    ] = False,
    product_id: ProductId = None,
    pic_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False, help="PicName, if there is one picture.", rich_help_panel=PICTURES
        ),
    ] = None,
    product_from: ProductFrom = "name",
    category: Category = None,
    crop: Crop = True,
    region: RegionOption = None,
    custom_content: CustomContent = None,
    int_attr: IntAttr = None,
    int_attr2: IntAttr = None,
    int_attr3: IntAttr = None,
    int_attr4: IntAttr = None,
    str_attr: StrAttr = None,
    str_attr2: StrAttr = None,
    str_attr3: StrAttr = None,
    str_attr4: StrAttr = None,
    kind: KindOption = None,
    model: Model = None,
    weights: Weights = None,
    workers: Workers = None,
    device: DeviceOption = CPU,
    shard: ShardOption = None,
    nul: Nul = False,
    dry_run: DryRun = False,
    include_hidden: IncludeHidden = False,
    exclude: Exclude = None,
    follow_links: FollowLinks = False,
    allow_empty: Annotated[
        bool,
        typer.Option("--allow-empty", help="A folder without a picture is not a failure.", rich_help_panel=PICTURES),
    ] = False,
    report: ReportFile = None,
    lock_timeout: LockTimeout = 0.0,
    quiet: Quiet = False,
    log_file: LogFile = None,  # noqa: ARG001  # for whoever reports
    output_format: FormatOption = None,
) -> None:
    """Index pictures: add new ones, replace changed ones, skip unchanged ones."""
    from imgsearch.sources.files import FileRequest
    from imgsearch.sources.local import LocalFiles
    from imgsearch.sources.walking import PassedOver

    chosen = resolve_format(output_format)
    check_product(product_id, product_from)
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
        exclude=patterns(exclude),
        follow_links=follow_links,
        allow_empty=allow_empty,
    )
    given = paths or []
    reading = FeedOptions(downloads, timeout, manifest_format, item_group, allow_private)
    if manifest is None and reading != FeedOptions(DOWNLOADS, TIMEOUT_SECONDS):
        raise UsageError(
            "--manifest-format, --item-group, --allow-private, --timeout and --downloads are for --manifest FILE"
        )
    if reindex:
        others = (
            given,
            manifest,
            request != FileRequest(),
            model,
            weights,
            kind is not None,
            shard,
            nul,
            dry_run,
            report,
        )
        _check_reindex(others=any(others))
        _reindex(instance, workers, device, lock_timeout, quiet=quiet, chosen=chosen)
        return
    _check(given, manifest, request, FileRequest(product_from=product_from, include_hidden=include_hidden))
    check_device(device)
    begun = perf_counter()
    summary = Summary(shard=shard)
    with ExitStack() as stack:
        stack.enter_context(new_instance_discarded(instance, lambda: bool(summary.exit_code)))
        told = stack.enter_context(Report.opened(report))
        passed_over = PassedOver(None if report is None else told.skip)
        source = (
            _files(given, request, passed_over, shard, nul=nul)
            if manifest is None
            else _feed(manifest, reading, shard, stack, quiet=quiet)
        )
        source.check()
        target: Instance | None
        if dry_run:
            target = stack.enter_context(existing(instance, kind, model, weights, quiet=quiet) or nullcontext())
            outcomes: Iterable[Outcome] = dry_run_of(source, target)
        else:
            target = stack.enter_context(
                open_or_make(instance, kind, model, weights, lock_timeout=lock_timeout, quiet=quiet)
            )
            warn_of_shared_storage(target.folder)
            read = (
                source.batches()
                if isinstance(source, LocalFiles)
                else warning_of_ignored_regions(source.operations(target.has_item))
            )
            outcomes = target.apply_stream(
                read,
                distinct=manifest is None,
                workers=workers,
                readers=downloads if isinstance(source, Feed) and source.has_links else 0,
                device=device,
                lock_timeout=lock_timeout,
            )
        for outcome in with_progress(outcomes, source.countable, quiet=quiet):
            summary.count(outcome)
            told.count(outcome)
            print_outcome(outcome, chosen, quiet=quiet)
        if manifest is None:
            summary.add_facts(Skipped=passed_over.document())
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
            tell(
                f"{safe(str(target.folder))} already has the features of this release; "
                "perceptual hashes that pictures lack are computed"
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
    check_no_links(paths, "give it in a manifest: add --manifest FILE, with the link as PicName or image_link")
    if request.pic_name is not None and (len(paths) != 1 or paths[0] == STDIN or is_folder(Path(paths[0]))):
        raise UsageError("--pic-name applies to one picture: give exactly one file with it")


def _feed(manifest: Path, options: FeedOptions, shard: Shard | None, stack: ExitStack, *, quiet: bool) -> Feed:
    def warn_unless_quiet(message: str) -> None:
        if not quiet:
            warn(message)

    path, stream = (None, sys.stdin.buffer) if str(manifest) == STDIN else (manifest, None)
    return Feed(path, stack, options, warn_unless_quiet, stream, shard or Shard())


def _files(paths: list[str], request: Any, passed_over: PassedOver, shard: Shard | None, *, nul: bool) -> Source:
    from imgsearch.sources import stdin
    from imgsearch.sources.local import LocalFiles

    if STDIN not in paths:
        named = [Path(path) for path in paths]
        return LocalFiles(named, request, named if shard is None else None, passed_over, shard)

    def listed() -> Iterator[Path]:
        for path in paths:
            if path == STDIN:
                yield from stdin.read_paths(sys.stdin.buffer, nul=nul)
            else:
                yield Path(path)

    return LocalFiles(listed(), request, passed_over=passed_over, shard=shard)
