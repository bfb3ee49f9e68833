"""``imgsearch delete``."""

from __future__ import annotations

from typing import Annotated

import typer

from imgsearch.cli.options import FormatOption, InstanceOption, LockTimeout, Nul, open_instance, warn_of_shared_storage
from imgsearch.cli.output import Format, console, print_document, print_names, resolve_format, safe
from imgsearch.errors import UsageError

__all__ = ["delete"]


def delete(
    product_id: Annotated[
        str | None, typer.Argument(show_default=False, help="Delete all pictures of this product, …")
    ] = None,
    pic_name: Annotated[str | None, typer.Argument(show_default=False, help="… or only this one.")] = None,
    instance: InstanceOption = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="EXPR",
            show_default=False,
            help='Delete all matches, for example: int_attr>=10 AND str_attr="red"',
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be deleted.")] = False,
    lock_timeout: LockTimeout = 0.0,
    nul: Nul = False,
    output_format: FormatOption = None,
) -> None:
    """Delete a product, one picture, or all matches of a filter; deleting nothing is not an error."""
    if (product_id is None) == (filter_ is None):
        raise UsageError("specify what to delete: PRODUCT_ID [PIC_NAME], or --filter EXPR")
    chosen = resolve_format(output_format)
    with open_instance(instance) as target:
        if not dry_run:
            warn_of_shared_storage(target.folder)
        if filter_ is not None:
            deletion = target.delete_matching(filter_, dry_run=dry_run, lock_timeout=lock_timeout)
        else:
            assert product_id is not None
            deletion = target.delete(product_id, pic_name, dry_run=dry_run, lock_timeout=lock_timeout)
    names = [key.pic_name for key in deletion.keys]
    if chosen is Format.TABLE:
        where = console()
        for key in deletion.keys:
            where.print(f"{safe(key.product_id)}  {safe(key.pic_name)}", markup=False)
        where.print(f"{len(names)} {'would be deleted' if dry_run else 'deleted'}")
    elif chosen is Format.PATHS:
        print_names(names, nul=nul)
    else:
        document = {"Success": True, "Deleted": 0 if dry_run else len(names), "PicNames": names}
        print_document(document | {"DryRun": True} if dry_run else document)
