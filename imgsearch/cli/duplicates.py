"""``imgsearch duplicates``."""

from __future__ import annotations

import sys
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli.errors import warn
from imgsearch.cli.opening import open_instance
from imgsearch.cli.options import (
    OUTPUT,
    SELECTION,
    Category,
    FilterOption,
    FormatOption,
    InstanceOption,
    Nul,
    OfProduct,
    Quiet,
)
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
from imgsearch.errors import UsageError
from imgsearch.service.categories import Kind
from imgsearch.service.documents import duplicates_document, group_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgsearch.instance import Instance
    from imgsearch.jobs.duplicates import DuplicateGroup, Duplicates

__all__ = ["duplicates"]

ON_A_TERMINAL = 100
LEAST_SCORE = 0.9


class LevelChoice(StrEnum):
    """What ``--level`` takes."""

    SAME = "same"
    SIMILAR = "similar"


def duplicates(
    instance: InstanceOption = None,
    level: Annotated[
        LevelChoice,
        typer.Option(
            "--level",
            help="Only pictures that show the same, or also those that merely resemble each other.",
            rich_help_panel=SELECTION,
        ),
    ] = LevelChoice.SAME,
    min_score: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Least Score of pictures that resemble each other (--level similar); by default 0.9.",
            rich_help_panel=SELECTION,
        ),
    ] = None,
    filter_: FilterOption = None,
    category: Category = None,
    product_id: OfProduct = None,
    within_products: Annotated[
        bool,
        typer.Option(
            "--within-products",
            help="Compare the pictures of each product with each other only.",
            rich_help_panel=SELECTION,
        ),
    ] = False,
    across_products: Annotated[
        bool,
        typer.Option(
            "--across-products", help="Only groups with pictures of several products.", rich_help_panel=SELECTION
        ),
    ] = False,
    num: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--num",
            min=0,
            show_default=False,
            help=f"Maximum number of groups; by default {ON_A_TERMINAL} on a terminal, else all.",
            rich_help_panel=SELECTION,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Write a contact sheet of the groups.", rich_help_panel=OUTPUT
        ),
    ] = None,
    nul: Nul = False,
    quiet: Quiet = False,
    output_format: FormatOption = None,
) -> None:
    """Find pictures of the instance that show the same: copies, also re-encoded, resized or slightly cropped."""
    chosen = resolve_format(output_format)
    if within_products and across_products:
        raise UsageError("give --within-products or --across-products, not both")
    if min_score is not None and level is LevelChoice.SAME:
        raise UsageError("--min-score is for --level similar: pictures that show the same are told by their hashes")
    products = "within" if within_products else "across" if across_products else "any"
    if num is None and sys.stdout.isatty():
        num = ON_A_TERMINAL
    if html is not None:
        from imgsearch.cli.html_page import check_writable

        check_writable(html)
    with (
        open_instance(instance, quiet=quiet) as target,
        target.duplicates(
            filter_,
            category=category,
            product_id=product_id,
            level=level.value,
            min_score=LEAST_SCORE if min_score is None else min_score,
            products=products,
        ) as found,
    ):
        groups = islice(found.groups, num)
        if html is not None:
            kept = list(groups)  # the sheet holds a thumbnail of each picture anyway
            groups = islice(kept, None)
            _write_sheet(html, kept, target)
        _print(chosen, found, groups, target, nul=nul)
        if found.unhashed and not quiet:
            warn(
                f"{found.unhashed} of {found.compared} pictures have no perceptual hash: an older release added them, "
                "or they were imported without one. Of these, only copies with the same bytes are found; "
                "'imgsearch add --reindex' computes it"
            )


def _print(chosen: Format, found: Duplicates, groups: Iterator[DuplicateGroup], target: Instance, *, nul: bool) -> None:
    if chosen is Format.TABLE:
        _print_table(found, groups, with_products=target.kind is Kind.PRODUCT)
    elif chosen is Format.PATHS:
        _print_paths(groups, target.limits.max_bytes, nul=nul)
    elif chosen is Format.JSONL:
        for group in groups:
            print_document(group_document(group), one_line=True)
    else:
        print_streamed(duplicates_document(found), "Groups", map(group_document, groups), one_line=False)


def _print_paths(groups: Iterable[DuplicateGroup], max_bytes: int, *, nul: bool) -> None:
    from imgsearch.jobs.duplicates import spare_files

    left_out = 0
    for group in groups:
        files, others = spare_files(group, max_bytes)
        left_out += others
        for file in files:
            print_name(str(file), nul=nul)
    if left_out:
        warn(
            f"{left_out} copies are not listed: their files, or the file that would stay, are missing, unknown, "
            "another name of a listed one, or have changed since they were added"
        )


def _print_table(found: Duplicates, groups: Iterable[DuplicateGroup], *, with_products: bool) -> None:
    from rich.table import Table

    table = Table(caption_justify="left")
    table.add_column("Group", justify="right", style="dim")
    table.add_column("Score", justify="right")
    if with_products:
        table.add_column("ProductId", overflow="fold", style="bold")
    table.add_column("Picture", overflow="fold")
    shown = 0
    for shown, group in enumerate(groups, 1):
        for place, picture in enumerate(group.pictures):
            item = picture.item
            score = "" if place == 0 else "same bytes" if picture.score == 1 else f"{picture.score:.3f}"
            label = f"{shown} {group.level}" if place == 0 else ""
            product = [item.key.product_id] if with_products else []
            table.add_row(*map(text, (label, score, *product, local(item.location) or item.key.pic_name)))
        table.add_section()
    total = found.same + found.similar
    more = "; -n shows more" if shown < total else ""
    table.caption = text(
        f"{shown} of {total} groups ({found.same} same, {found.similar} similar) with {found.pictures} pictures, of "
        f"{found.compared} compared{more}"
    )
    console().print(table)


def _write_sheet(target: Path, groups: list[DuplicateGroup], instance: Instance) -> None:
    from imgsearch.cli.contact_sheet import shown_item, write_groups

    def label(place: int, score: float) -> str:
        return "first" if place == 0 else "same bytes" if score == 1 else f"{score:.3f}"

    rows = [
        (
            f"{number} {group.level}",
            [shown_item(one.item, label(place, one.score)) for place, one in enumerate(group.pictures)],
        )
        for number, group in enumerate(groups, 1)
    ]
    write_groups(target, rows, instance.limits)
