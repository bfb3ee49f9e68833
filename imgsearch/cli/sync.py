"""``imgsearch sync``."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

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
from imgsearch.cli.opening import existing, new_instance_discarded, open_or_make, warn_of_shared_storage
from imgsearch.cli.options import (
    STDIN,
    Category,
    Crop,
    CustomContent,
    DeviceOption,
    FormatOption,
    InstanceOption,
    IntAttr,
    KindOption,
    LockTimeout,
    LogFile,
    Model,
    Quiet,
    RegionOption,
    ShardOption,
    StrAttr,
    Weights,
    Workers,
    check_device,
    picture_options,
)
from imgsearch.cli.output import resolve_format
from imgsearch.cli.summary import Summary, dry_run_of, print_outcome, with_progress
from imgsearch.errors import InvalidValue, UsageError
from imgsearch.values import Attributes
from imgsearch.vision.devices import CPU

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgsearch.instance import Instance
    from imgsearch.types import Outcome

__all__ = ["sync"]


def sync(
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH", show_default=False, help="Folders.")] = None,
    instance: InstanceOption = None,
    max_delete: Annotated[
        str,
        typer.Option(
            metavar="SHARE|NUMBER", help="Refuse to delete more than this of the items below a PATH: 20%, or 1000."
        ),
    ] = "50%",
    dry_run: DryRun = False,
    product_id: ProductId = None,
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
    include_hidden: IncludeHidden = False,
    exclude: Exclude = None,
    follow_links: FollowLinks = False,
    report: ReportFile = None,
    kind: KindOption = None,
    model: Model = None,
    weights: Weights = None,
    workers: Workers = None,
    device: DeviceOption = CPU,
    shard: ShardOption = None,
    lock_timeout: LockTimeout = 0.0,
    quiet: Quiet = False,
    log_file: LogFile = None,  # noqa: ARG001  # for whoever reports
    output_format: FormatOption = None,
) -> None:
    """Bring the instance in line with folders: add and replace pictures, delete those whose files are gone."""
    from imgsearch.jobs.sync import MaxDelete, check_roots
    from imgsearch.sources.files import FileRequest
    from imgsearch.sources.local import LocalFiles
    from imgsearch.sources.walking import PassedOver

    chosen = resolve_format(output_format)
    if not paths:
        raise UsageError("nothing to synchronise with: give one or more folders")
    if STDIN in paths:
        raise UsageError("a list of paths does not say what is gone: give the folders that hold the pictures")
    try:
        MaxDelete.parse(max_delete)
    except InvalidValue as error:
        raise UsageError(f"--max-delete {error.message}") from None
    check_product(product_id, product_from)
    attributes = Attributes(
        custom_content, int_attr, int_attr2, int_attr3, int_attr4, str_attr, str_attr2, str_attr3, str_attr4
    )
    request = FileRequest(
        product_id=product_id,
        product_from=product_from,
        options=picture_options(category, crop=crop, region=region),
        attributes=attributes,
        include_hidden=include_hidden,
        exclude=patterns(exclude),
        follow_links=follow_links,
    )
    check_device(device)
    begun = perf_counter()
    named = [Path(path) for path in paths]
    check_roots(named, request)  # before an instance is made
    summary = Summary(with_renamed=True, shard=shard)
    with ExitStack() as stack:
        stack.enter_context(new_instance_discarded(instance, lambda: bool(summary.exit_code)))
        told = stack.enter_context(Report.opened(report))
        passed_over = PassedOver(None if report is None else told.skip)
        target: Instance | None
        outcomes: Iterable[Outcome]
        if dry_run:
            target = stack.enter_context(existing(instance, kind, model, weights, quiet=quiet) or nullcontext())
        else:
            target = stack.enter_context(
                open_or_make(instance, kind, model, weights, lock_timeout=lock_timeout, quiet=quiet)
            )
            warn_of_shared_storage(target.folder)
        if target is None:
            outcomes = dry_run_of(LocalFiles(named, request, passed_over=passed_over, shard=shard), None)
        else:
            outcomes = target.sync_stream(
                named,
                request,
                max_delete=max_delete,
                dry_run=dry_run,
                passed_over=passed_over,
                shard=shard,
                workers=workers,
                device=device,
                lock_timeout=lock_timeout,
            )
        for outcome in with_progress(outcomes, named if shard is None else None, quiet=quiet):
            summary.count(outcome)
            told.count(outcome)
            print_outcome(outcome, chosen, quiet=quiet)
        summary.add_facts(Skipped=passed_over.document())
        if dry_run:
            summary.add_facts(DryRun=True)
    summary.show(chosen, perf_counter() - begun, quiet=quiet)
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)
