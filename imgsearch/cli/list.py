"""``imgsearch list``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli.opening import open_instance
from imgsearch.cli.options import SELECTION, Category, FilterOption, FormatOption, InstanceOption, Nul, OfProduct
from imgsearch.cli.output import (
    Format,
    console,
    local,
    print_document,
    print_name,
    print_streamed,
    resolve_format,
    text,
)
from imgsearch.service.categories import CATEGORIES, Kind
from imgsearch.service.command_documents import listing_document
from imgsearch.service.documents import item_document

if TYPE_CHECKING:
    from imgsearch.jobs.reading import Listing

__all__ = ["list_"]

ON_A_TERMINAL = 100
WIDE = 100
"""Columns of a terminal in which paths find room as well."""


def list_(
    instance: InstanceOption = None,
    filter_: FilterOption = None,
    category: Category = None,
    product_id: OfProduct = None,
    num: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--num",
            min=0,
            show_default=False,
            help=f"Maximum number of items; by default {ON_A_TERMINAL} on a terminal, else all.",
            rich_help_panel=SELECTION,
        ),
    ] = None,
    start: Annotated[int, typer.Option(min=0, help="Number of items to skip.", rich_help_panel=SELECTION)] = 0,
    nul: Nul = False,
    output_format: FormatOption = None,
) -> None:
    """List stored items, in the order of ProductId and PicName."""
    chosen = resolve_format(output_format)
    if num is None and sys.stdout.isatty():
        num = ON_A_TERMINAL
    with (
        open_instance(instance) as target,
        target.listing(filter_, category=category, product_id=product_id, start=start, num=num) as listing,
    ):
        if chosen is Format.TABLE:
            _print_table(listing, start, with_categories=target.kind is Kind.PRODUCT)
        elif chosen is Format.PATHS:
            for item in listing.items:
                print_name(str(item.location or item.key.pic_name), nul=nul)
        elif chosen is Format.JSONL:
            for item in listing.items:
                print_document(item_document(item), one_line=True)
        else:
            print_streamed(listing_document(listing), "Auctions", map(item_document, listing.items), one_line=False)


def _print_table(listing: Listing, start: int, *, with_categories: bool) -> None:
    from rich.table import Table

    table = Table(caption_justify="left")
    table.add_column("ProductId", overflow="fold", style="bold")
    table.add_column("PicName", overflow="fold")
    if with_categories:
        table.add_column("Category")
    where = console()
    with_paths = where.width >= WIDE
    if with_paths:
        table.add_column("Path", overflow="fold", style="dim")
    shown = 0
    for item in listing.items:
        cells = [item.key.product_id, item.key.pic_name]
        if with_categories:
            cells.append(CATEGORIES[item.category_id])
        table.add_row(*map(text, (*cells, local(item.location)) if with_paths else cells))
        shown += 1
    more = "; -n and --start show others" if shown < listing.total else ""
    table.caption = text(f"{shown} of {listing.total} items{f', from number {start}' if start else ''}{more}")
    where.print(table)
