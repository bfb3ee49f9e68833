"""``imgsearch delete``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imgsearch.cli.errors import warn
from imgsearch.cli.opening import open_instance, warn_of_shared_storage
from imgsearch.cli.options import (
    SELECTION,
    STDIN,
    FilterOption,
    FormatOption,
    InstanceOption,
    LockTimeout,
    LogFile,
    Nul,
    Quiet,
)
from imgsearch.cli.output import Format, print_document, print_keys, print_names, resolve_format
from imgsearch.errors import InputError, UsageError
from imgsearch.service.command_documents import deletion_document
from imgsearch.values import Key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.instance import Instance

__all__ = ["delete"]


def delete(
    product_id: Annotated[
        str | None,
        typer.Argument(
            show_default=False,
            help="Delete all pictures of this product, …; - reads a list from stdin, a line each: ProductId, or "
            "ProductId, a tab and PicName.",
        ),
    ] = None,
    pic_name: Annotated[str | None, typer.Argument(show_default=False, help="… or only this one.")] = None,
    instance: InstanceOption = None,
    filter_: FilterOption = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            show_default=False,
            help="Delete what was added from this file; it may be gone. Repeatable.",
            rich_help_panel=SELECTION,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be deleted.")] = False,
    lock_timeout: LockTimeout = 0.0,
    nul: Nul = False,
    quiet: Quiet = False,
    log_file: LogFile = None,  # noqa: ARG001  # for whoever reports
    output_format: FormatOption = None,
) -> None:
    """Delete products, single pictures, or all matches of a filter; deleting nothing is not an error."""
    ways = {"PRODUCT_ID": product_id is not None, "--filter": filter_ is not None, "--file": bool(file)}
    _check_ways([name for name, given in ways.items() if given])
    if pic_name is not None and product_id in (None, STDIN):
        raise UsageError("PIC_NAME goes with PRODUCT_ID; in a list on stdin, it stands behind a tab")
    chosen = resolve_format(output_format)
    failures: list[dict[str, Any]] = []
    with open_instance(instance) as target:
        if not dry_run:
            warn_of_shared_storage(target.folder)
        if filter_ is not None:
            keys = target.delete_matching(filter_, dry_run=dry_run, lock_timeout=lock_timeout).keys
        elif file:
            keys = target.delete_files(file, dry_run=dry_run, lock_timeout=lock_timeout).keys
        elif product_id == STDIN:
            lines = _selections(nul, failures)
            deletions = target.delete_stream(lines, dry_run=dry_run, lock_timeout=lock_timeout)
            keys = [key for deletion in deletions for key in deletion.keys]
        else:
            assert product_id is not None
            keys = target.delete(product_id, pic_name, dry_run=dry_run, lock_timeout=lock_timeout).keys
            if not keys and not quiet:
                _hint(target, product_id, pic_name)
    _print(keys, failures, chosen, dry_run=dry_run, nul=nul, quiet=quiet)
    if failures:
        raise typer.Exit(1)


def _check_ways(given: list[str]) -> None:
    if not given:
        raise UsageError(
            "say what to delete: PRODUCT_ID [PIC_NAME], - for a list on stdin, --filter EXPR or --file PATH"
        )
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are different ways to say what to delete: use only one of them")


def _selections(nul: bool, failures: list[dict[str, Any]]) -> Iterator[tuple[str, str | None]]:
    """ProductId and PicName of each line of stdin; lines that name no item are reported and passed over."""
    from imgsearch.sources.stdin import read_lines

    for number, line in enumerate(read_lines(sys.stdin.buffer, nul=nul), 1):
        product_id, tab, pic_name = line.partition("\t")
        try:
            Key(product_id, pic_name if tab else "any")
        except InputError as error:
            source = f"stdin, {'entry' if nul else 'line'} {number}"
            failures.append({"Source": source, "Code": error.code, "Message": error.message})
            warn(f"{source}: {error.message} ({error.code})")
        else:
            yield product_id, pic_name if tab else None


def _hint(target: Instance, product_id: str, pic_name: str | None) -> None:
    """Say why nothing was deleted, if a common slip explains it."""
    if pic_name is None:
        warn(f"there is no product {product_id!r} in {target.folder}")
        if "/" in product_id or Path(product_id).suffix:
            warn(f"if it is a file, 'imgsearch delete --file {product_id}' deletes what was added from it")
        return
    with target.listing(product_id=product_id, num=1) as listing:
        total, first = listing.total, next(listing.items, None)
    if first is None:
        warn(f"there is no product {product_id!r} in {target.folder}")
    else:
        count = "1 picture" if total == 1 else f"{total} pictures, such as"
        warn(f"product {product_id!r} has no picture {pic_name!r}; it has {count} {first.key.pic_name!r}")
    with target.listing(product_id=pic_name, num=1) as listing:
        if listing.total:
            warn("the second argument is a PicName; to delete several products, list them on stdin: imgsearch delete -")


def _print(
    keys: list[Key], failures: list[dict[str, Any]], chosen: Format, *, dry_run: bool, nul: bool, quiet: bool
) -> None:
    names = [key.pic_name for key in keys]
    if chosen is Format.PATHS:
        print_names(names, nul=nul)
    elif quiet and not failures:
        return
    elif chosen is Format.TABLE:
        print_keys(keys, f"{len(names)} {'would be deleted' if dry_run else 'deleted'}")
    else:
        document = deletion_document(keys, dry_run=dry_run)
        if failures:
            document |= {"Success": False, "Failures": failures}
        print_document(document, one_line=chosen is Format.JSONL)
