"""``imgsearch show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli.errors import warn
from imgsearch.cli.opening import open_instance
from imgsearch.cli.options import FormatOption, InstanceOption, Nul
from imgsearch.cli.output import Format, console, print_document, print_names, resolve_format, text
from imgsearch.errors import ItemNotFound
from imgsearch.service.categories import CATEGORIES
from imgsearch.service.command_documents import shown_document
from imgsearch.service.documents import whole_item_document
from imgsearch.values import Key

if TYPE_CHECKING:
    from imgsearch.types import Item

__all__ = ["show"]


def show(
    product_id: Annotated[str, typer.Argument(metavar="PRODUCT_ID", help="Show all pictures of this product, …")],
    pic_name: Annotated[
        str | None, typer.Argument(metavar="PIC_NAME", show_default=False, help="… or only this one.")
    ] = None,
    instance: InstanceOption = None,
    nul: Nul = False,
    output_format: FormatOption = None,
) -> None:
    """Show all that is stored of a product's pictures, except their features."""
    chosen = resolve_format(output_format)
    with open_instance(instance) as target:
        if pic_name is None:
            with target.listing(product_id=product_id) as listing:
                items = list(listing.items)
        else:
            key = Key(product_id, pic_name)
            items = [target.item(key)] if target.has_item(key) else []
    if chosen is Format.PATHS:
        print_names([str(item.location or item.key.pic_name) for item in items], nul=nul)
    elif chosen is Format.JSONL:
        for item in items:
            print_document(whole_item_document(item), one_line=True)
    elif chosen is Format.JSON:
        print_document(shown_document(items))
    else:
        _print_table(items)
    if not items:
        from imgsearch.opened import absent, no_product

        missing = no_product(product_id, target.folder) if pic_name is None else absent(key, target.folder)
        warn(missing.message)
        raise typer.Exit(ItemNotFound.exit_code)


def _print_table(items: list[Item]) -> None:
    from rich.table import Table

    for item in items:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        document = whole_item_document(item)
        document["CategoryId"] = f"{item.category_id} {CATEGORIES[item.category_id]}"
        document["MultiRegion"] = " ".join(map(str, item.subjects))
        for name, value in document.items():
            if value not in (None, ""):
                table.add_row(text(name), text(value))
        console().print(table)
        console().print()
