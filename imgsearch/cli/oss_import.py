"""``imgsearch oss-import``."""

from __future__ import annotations

import json
from contextlib import ExitStack, nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli.errors import warn
from imgsearch.cli.opening import (
    existing,
    instance_folder,
    new_instance_discarded,
    open_or_make,
    warn_of_shared_storage,
)
from imgsearch.cli.options import (
    DOWNLOADS,
    OUTPUT,
    TIMEOUT_SECONDS,
    DeviceOption,
    Downloads,
    FormatOption,
    InstanceOption,
    KindOption,
    LockTimeout,
    LogFile,
    Model,
    Quiet,
    ShardOption,
    Timeout,
    Weights,
    Workers,
    check_device,
)
from imgsearch.cli.output import print_line, resolve_format
from imgsearch.cli.run_log import opened_text
from imgsearch.cli.summary import (
    Summary,
    dry_run_of,
    failure_document,
    print_outcome,
    warning_of_ignored_regions,
    with_progress,
)
from imgsearch.errors import InstanceEmpty, RemoteCode, RemoteError, UsageError
from imgsearch.vision.devices import CPU

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgsearch.instance import Instance
    from imgsearch.sources.port import Source
    from imgsearch.types import Outcome

__all__ = ["oss_import"]


def oss_import(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="oss://BUCKET/PATH",
            show_default=False,
            help="The folder with increment.meta and the pictures.",
        ),
    ] = None,
    instance: InstanceOption = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Rebuild the index at the end; refused if there are no items.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Run all checks, read the manifest and report what would be done.")
    ] = False,
    role_arn: Annotated[
        str | None,
        typer.Option("--role-arn", metavar="ARN", show_default=False, help="RAM role to assume with your keys."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="HOST",
            envvar="OSS_ENDPOINT",
            show_default=False,
            help="Endpoint of the storage, such as oss-cn-shanghai-internal.aliyuncs.com.",
        ),
    ] = None,
    region_id: Annotated[
        str | None,
        typer.Option(
            "--region-id",
            metavar="ID",
            envvar="OSS_REGION",
            show_default=False,
            help="Region of the bucket, such as cn-shanghai; by default the instance's.",
        ),
    ] = None,
    sts_endpoint: Annotated[
        str | None,
        typer.Option("--sts-endpoint", metavar="HOST", show_default=False, help="Host of the token service."),
    ] = None,
    explain_policy: Annotated[
        bool, typer.Option("--explain-policy", help="Print the minimal RAM policy for an import, and exit.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Write failed lines to this file, as JSON lines.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    log_file: LogFile = None,  # noqa: ARG001  # for whoever reports
    timeout: Timeout = TIMEOUT_SECONDS,
    downloads: Downloads = DOWNLOADS,
    kind: KindOption = None,
    model: Model = None,
    weights: Weights = None,
    workers: Workers = None,
    device: DeviceOption = CPU,
    shard: ShardOption = None,
    lock_timeout: LockTimeout = 0.0,
    quiet: Quiet = False,
    output_format: FormatOption = None,
) -> None:
    """Process the increment.meta of an OSS folder: add, replace and delete; a repeated run continues."""
    if explain_policy:
        _print_policy(source)
        return
    if source is None:
        raise UsageError("name the folder that holds increment.meta as oss://BUCKET/PATH")
    from imgsearch.sources.oss.address import OssAddress, check_role_arn
    from imgsearch.sources.oss.credentials import silence_libraries
    from imgsearch.sources.oss.source import open_folder

    chosen = resolve_format(output_format)
    begun = perf_counter()
    summary = Summary(is_batch=True, shard=shard)
    with ExitStack() as stack:
        stack.enter_context(new_instance_discarded(instance, lambda: bool(summary.exit_code)))
        check_device(device)
        address = OssAddress.parse(source)
        if role_arn is not None:
            check_role_arn(role_arn)
        failed = None if report is None else stack.enter_context(opened_text(report, "w", "--report"))
        target = stack.enter_context(existing(instance, kind, model, weights, quiet=quiet) or nullcontext())
        if rebuild:
            _check_rebuildable(target, instance_folder(instance))
        region = _agreed_region(region_id, target)
        silence_libraries()
        folder = open_folder(
            address,
            stack,
            region=region,
            endpoint=endpoint,
            role_arn=role_arn,
            sts_endpoint=sts_endpoint,
            downloads=downloads,
            timeout=timeout,
            shard=shard,
        )
        folder.check()
        if (failure := folder.bucket.listing_failure) is not None and not quiet:
            warn(f"without listings, stored objects are looked up one by one: {failure}")
        if dry_run:
            outcomes: Iterable[Outcome] = dry_run_of(folder, target)
        else:
            if target is None:
                target = stack.enter_context(
                    open_or_make(
                        instance,
                        kind,
                        model,
                        weights,
                        region_id=region_id,
                        lock_timeout=lock_timeout,
                        quiet=quiet,
                    )
                )
            warn_of_shared_storage(target.folder)
            outcomes = _applied(target, folder, workers, downloads, device, rebuild, lock_timeout, quiet)
        for outcome in with_progress(outcomes, None, quiet=quiet):
            summary.count(outcome)
            print_outcome(outcome, chosen, quiet=quiet)
            if outcome.error is not None and failed is not None:
                failed.write(json.dumps(failure_document(outcome, outcome.error), ensure_ascii=False) + "\n")
        if dry_run:
            summary.add_facts(DryRun=True)
        elif rebuild and target is not None and (generation := target.info().generation) is not None:
            summary.add_facts(Generation=generation.number)
        summary.show(chosen, perf_counter() - begun, quiet=quiet)
        if summary.exit_code:
            raise typer.Exit(summary.exit_code)


def _print_policy(source: str | None) -> None:
    from imgsearch.sources.oss.address import OssAddress
    from imgsearch.sources.oss.policy import EXAMPLE, minimal_policy

    address = EXAMPLE if source is None else OssAddress.parse(source)
    print_line(json.dumps(minimal_policy(address), indent=2, ensure_ascii=False))


def _check_rebuildable(target: Instance | None, folder: Path) -> None:
    if target is None:
        raise InstanceEmpty(
            f"there is no instance in {folder}, so there is nothing to rebuild: import without --rebuild first"
        )
    target.check_rebuildable()


def _agreed_region(region_id: str | None, target: Instance | None) -> str | None:
    """The required region of the bucket: the instance's, if set."""
    own = None if target is None else target.region_id
    if own is not None and region_id is not None and own != region_id:
        raise RemoteError(
            f"the instance imports from {own} (imgsearch init --region-id), but --region-id is {region_id}: leave out "
            "the option, or import into an instance of that region",
            code=RemoteCode.REGION_MISMATCH,
        )
    return own or region_id


def _applied(
    target: Instance,
    source: Source,
    workers: int | None,
    downloads: int,
    device: str,
    rebuild: bool,
    lock_timeout: float,
    quiet: bool,
) -> Iterable[Outcome]:
    read = source.operations(target.has_item)
    return target.apply_stream(
        read if quiet else warning_of_ignored_regions(read),
        workers=workers,
        readers=downloads,
        device=device,
        rebuild=rebuild,
        lock_timeout=lock_timeout,
    )
