"""``imgsearch oss-import``."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack, nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Final

import typer

from imgsearch.cli.options import (
    DeviceOption,
    FormatOption,
    InstanceOption,
    KindOption,
    LockTimeout,
    Model,
    Quiet,
    Weights,
    Workers,
    check_device,
    instance_folder,
    open_or_make,
    warn_of_shared_storage,
)
from imgsearch.cli.output import print_line, resolve_format
from imgsearch.cli.run_log import opened_text, run_log
from imgsearch.cli.summary import (
    Summary,
    failure_document,
    print_outcome,
    telling_of_ignored_regions,
    with_progress,
)
from imgsearch.errors import InstanceEmpty, RegionMismatch, UsageError
from imgsearch.service.categories import Kind
from imgsearch.vision.devices import CPU

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from imgsearch.instance import Instance
    from imgsearch.sources.oss.address import OssAddress
    from imgsearch.sources.oss.bucket import BucketReader
    from imgsearch.types import Outcome

__all__ = ["oss_import"]

log: Final = logging.getLogger("imgsearch")
DOWNLOADS: Final = 16
"""At 100 ms a request, enough for as many pictures a second as two cores can extract."""
TIMEOUT_SECONDS: Final = 60.0


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
        bool, typer.Option("--rebuild", help="Train the index anew at the end; refused where there are no items.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do all checks, read the manifest and say what would be done.")
    ] = False,
    role_arn: Annotated[
        str | None,
        typer.Option("--role-arn", metavar="ARN", show_default=False, help="RAM role to assume with the keys found."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="HOST",
            envvar="OSS_ENDPOINT",
            show_default=False,
            help="Another address of the storage, such as oss-cn-shanghai-internal.aliyuncs.com.",
        ),
    ] = None,
    region_id: Annotated[
        str | None,
        typer.Option(
            "--region-id",
            metavar="ID",
            envvar="OSS_REGION",
            show_default=False,
            help="Region of the bucket: cn-shanghai, …; by default the instance's.",
        ),
    ] = None,
    sts_endpoint: Annotated[
        str | None,
        typer.Option("--sts-endpoint", metavar="HOST", show_default=False, help="Another host of the token service."),
    ] = None,
    explain_policy: Annotated[
        bool, typer.Option("--explain-policy", help="Print the least RAM policy that an import needs, and exit.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Write each failed line there, as JSON lines."),
    ] = None,
    log_file: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False, help="Add timestamped lines to that log.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="For one picture, its repetitions included.")
    ] = TIMEOUT_SECONDS,
    downloads: Annotated[int, typer.Option(min=1, help="Pictures that are downloaded at once.")] = DOWNLOADS,
    kind: KindOption = Kind.PRODUCT,
    model: Model = None,
    weights: Weights = None,
    workers: Workers = None,
    device: DeviceOption = CPU,
    lock_timeout: LockTimeout = 0.0,
    quiet: Quiet = False,
    output_format: FormatOption = None,
) -> None:
    """Run the increment.meta of an OSS folder: add, replace and delete as its lines say, and go on where it stopped."""
    if explain_policy:
        _print_policy(source)
        return
    if source is None:
        raise UsageError("name the folder that holds increment.meta as oss://BUCKET/PATH")
    from imgsearch.sources.oss.address import OssAddress, check_role_arn, endpoint_region, endpoint_url
    from imgsearch.sources.oss.preflight import check_bucket, checked_manifest

    chosen = resolve_format(output_format)
    begun = perf_counter()
    with ExitStack() as stack:
        stack.enter_context(run_log(log_file))
        check_device(device)
        address = OssAddress.parse(source)
        if role_arn is not None:
            check_role_arn(role_arn)
        failed = None if report is None else stack.enter_context(opened_text(report, "w", "--report"))
        target = stack.enter_context(_existing(instance, kind, model, weights, quiet=quiet) or nullcontext())
        if rebuild:
            _check_rebuildable(target, instance_folder(instance))
        region = _agreed_region(region_id, target)
        url = endpoint_url(endpoint, region)
        bucket = _reader(address, url, role_arn, sts_endpoint, region or endpoint_region(url), downloads, timeout)
        check_bucket(bucket, region)
        manifest = stack.enter_context(checked_manifest(bucket))
        if dry_run:
            outcomes = _foreseen(target, bucket, manifest)
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
            outcomes = _applied(target, bucket, manifest, workers, downloads, device, rebuild, lock_timeout, quiet)
        summary = Summary(is_batch=True)
        for outcome in with_progress(outcomes, None, quiet=quiet):
            summary.count(outcome)
            print_outcome(outcome, chosen, quiet=quiet)
            if outcome.error is not None:
                document = failure_document(outcome, outcome.error)
                log.warning("failed: %(Source)s: %(Message)s (%(Code)s)", document)
                if failed is not None:
                    failed.write(json.dumps(document, ensure_ascii=False) + "\n")
        if dry_run:
            summary.add_facts(DryRun=True)
        elif rebuild and target is not None and (generation := target.info().generation) is not None:
            summary.add_facts(Generation=generation.number)
        seconds = perf_counter() - begun
        log.info("%s in %.1f s", summary.in_words(), seconds)
        summary.show(chosen, seconds, quiet=quiet)
        if summary.exit_code:
            raise typer.Exit(summary.exit_code)


def _print_policy(source: str | None) -> None:
    from imgsearch.sources.oss.address import OssAddress
    from imgsearch.sources.oss.policy import EXAMPLE, minimal_policy

    address = EXAMPLE if source is None else OssAddress.parse(source)
    print_line(json.dumps(minimal_policy(address), indent=2, ensure_ascii=False))


def _existing(
    instance: Path | None, kind: Kind, model: str | None, weights: Path | None, *, quiet: bool
) -> Instance | None:
    """The instance, if it is there; a missing one is made when all checks have passed."""
    from imgsearch.instance import Instance

    folder = instance_folder(instance)
    return open_or_make(instance, kind, model, weights, quiet=quiet) if Instance.exists(folder) else None


def _check_rebuildable(target: Instance | None, folder: Path) -> None:
    if target is None:
        raise InstanceEmpty(f"there is no instance in {folder}, so nothing to rebuild: import without --rebuild first")
    target.check_rebuildable()


def _agreed_region(region_id: str | None, target: Instance | None) -> str | None:
    """Where the bucket has to be: in the instance's region, if that has one."""
    own = None if target is None else target.region_id
    if own is not None and region_id is not None and own != region_id:
        raise RegionMismatch(
            f"the instance imports from {own} (imgsearch init --region-id), --region-id says {region_id}: leave the "
            "option out, or import into an instance of that region"
        )
    return own or region_id


def _reader(
    address: OssAddress,
    url: str,
    role_arn: str | None,
    sts_endpoint: str | None,
    region: str | None,
    downloads: int,
    timeout: float,
) -> BucketReader:
    from imgsearch.sources.oss.bucket import BucketReader
    from imgsearch.sources.oss.credentials import Access

    access = Access(role_arn, sts_endpoint)
    return BucketReader(address, url, access, region, connections=downloads + 1, timeout=timeout)


def _foreseen(target: Instance | None, bucket: BucketReader, manifest: BinaryIO) -> Iterable[Outcome]:
    from imgsearch.jobs.dry_run import dry_run_for_new
    from imgsearch.sources.oss.operations import dry_run_operations
    from imgsearch.vision.limits import LIMIT_PROFILES

    if target is None:
        return dry_run_for_new(dry_run_operations(bucket, manifest, LIMIT_PROFILES["local"].max_bytes))
    return target.dry_run(dry_run_operations(bucket, manifest, target.limits.max_bytes))


def _applied(
    target: Instance,
    bucket: BucketReader,
    manifest: BinaryIO,
    workers: int | None,
    downloads: int,
    device: str,
    rebuild: bool,
    lock_timeout: float,
    quiet: bool,
) -> Iterable[Outcome]:
    from imgsearch.sources.oss.operations import operations

    read = operations(bucket, manifest, target.has_item)
    return target.apply(
        read if quiet else telling_of_ignored_regions(read),
        workers=workers,
        readers=downloads,
        device=device,
        rebuild=rebuild,
        lock_timeout=lock_timeout,
    )
