"""``imgsearch update``."""

from __future__ import annotations

from typing import Annotated

import typer

from imgsearch.cli.opening import open_instance, warn_of_shared_storage
from imgsearch.cli.options import (
    ATTRIBUTES,
    Category,
    CustomContent,
    FilterOption,
    FormatOption,
    InstanceOption,
    IntAttr,
    LockTimeout,
    LogFile,
    Nul,
    Quiet,
    StrAttr,
)
from imgsearch.cli.output import Format, print_document, print_keys, print_names, resolve_format
from imgsearch.errors import UsageError
from imgsearch.service.command_documents import update_document
from imgsearch.values import ATTRIBUTE_COLUMNS, SERVICE_NAMES

__all__ = ["update"]


def update(
    product_id: Annotated[
        str | None, typer.Argument(show_default=False, help="Change all pictures of this product, …")
    ] = None,
    pic_name: Annotated[str | None, typer.Argument(show_default=False, help="… or only this one.")] = None,
    instance: InstanceOption = None,
    filter_: FilterOption = None,
    category: Category = None,
    custom_content: CustomContent = None,
    int_attr: IntAttr = None,
    int_attr2: IntAttr = None,
    int_attr3: IntAttr = None,
    int_attr4: IntAttr = None,
    str_attr: StrAttr = None,
    str_attr2: StrAttr = None,
    str_attr3: StrAttr = None,
    str_attr4: StrAttr = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Remove this attribute, such as str-attr2; repeatable.",
            rich_help_panel=ATTRIBUTES,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be changed.")] = False,
    lock_timeout: LockTimeout = 0.0,
    nul: Nul = False,
    quiet: Quiet = False,
    log_file: LogFile = None,  # noqa: ARG001  # for whoever reports
    output_format: FormatOption = None,
) -> None:
    """Change attributes, CustomContent or category of stored items, without their pictures; the rest stays."""
    chosen = resolve_format(output_format)
    given = dict(
        zip(
            ATTRIBUTE_COLUMNS,
            (custom_content, int_attr, int_attr2, int_attr3, int_attr4, str_attr, str_attr2, str_attr3, str_attr4),
            strict=True,
        )
    )
    changes: dict[str, int | str | None] = {name: value for name, value in given.items() if value is not None}
    for name in map(_column, unset or []):
        if name in changes:
            raise UsageError(f"--{name.replace('_', '-')} and --unset {name} contradict each other")
        changes[name] = None
    with open_instance(instance, quiet=quiet) as target:
        if not dry_run:
            warn_of_shared_storage(target.folder)
        keys = target.update(
            filter_,
            product_id=product_id,
            pic_name=pic_name,
            attributes=changes,
            category=category,
            dry_run=dry_run,
            lock_timeout=lock_timeout,
        )
    names = [key.pic_name for key in keys]
    if chosen is Format.PATHS:
        print_names(names, nul=nul)
    elif quiet:
        return
    elif chosen is Format.TABLE:
        print_keys(keys, f"{len(names)} {'would be updated' if dry_run else 'updated'}")
    else:
        print_document(update_document(keys, dry_run=dry_run), one_line=chosen is Format.JSONL)


def _column(name: str) -> str:
    """The attribute that a user names, as filters spell it, as the service does, or as an option.

    Raises:
        UsageError
    """
    plain = name.removeprefix("--").replace("-", "_").casefold()
    for column, service_name in SERVICE_NAMES.items():
        if plain in (column, service_name.casefold()):
            return column
    raise UsageError(f"there is no attribute {name[:40]!r}; it is one of: {', '.join(ATTRIBUTE_COLUMNS)}")
