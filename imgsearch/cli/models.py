"""``imgsearch models``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgsearch.cli.options import FormatOption
from imgsearch.cli.output import Format, console, print_document, resolve_format, text
from imgsearch.errors import UsageError

if TYPE_CHECKING:
    from imgsearch.vision.known_models import AtHand, KnownModel

__all__ = ["models"]

NOT_MEASURED = "not measured by us"
NARROW = 100
"""Columns that a terminal needs for all facts."""


def models(output_format: FormatOption = None) -> None:
    """List the models that come with imgsearch, and others known to work."""
    from imgsearch.locations import cache_folder
    from imgsearch.vision.known_models import KNOWN_MODELS, at_hand

    chosen = resolve_format(output_format)
    if chosen is Format.PATHS:
        raise UsageError("models supports the formats table, json and jsonl")
    cache = cache_folder()
    listed = [(model, at_hand(model, cache)) for model in KNOWN_MODELS]
    if chosen is Format.TABLE:
        _print_table(listed)
    elif chosen is Format.JSONL:
        for model, state in listed:
            print_document(_document(model, state), one_line=True)
    else:
        print_document({"Success": True, "Models": [_document(model, state) for model, state in listed]})


def _document(model: KnownModel, state: AtHand) -> dict[str, Any]:
    figures = model.figures
    return {
        "Name": model.name,
        "Default": model.is_default,
        "Licence": model.licence,
        "InputSize": model.input_size,
        "Dimension": model.dimension,
        "WeightsMB": model.megabytes,
        "Text": model.has_text,
        "AtHand": state,
        "Source": model.source,
        "Hit@1": None if figures is None else figures.hit1,
        "mAP": None if figures is None else figures.mean_average_precision,
        "Speed": None if figures is None else figures.speed,
    }


def _print_table(listed: list[tuple[KnownModel, AtHand]]) -> None:
    from rich.table import Table

    table = Table(caption_justify="left")
    where = console()
    is_narrow = where.width < NARROW
    table.add_column("Model", overflow="fold", style="bold")
    for name in () if is_narrow else ("Pixels", "Numbers", "MB"):
        table.add_column(name, justify="right")
    for name in ("At hand",) if is_narrow else ("Words", "At hand", "hit@1 / mAP / speed", "Licence", "Use"):
        table.add_column(name, overflow="fold")
    for model, state in listed:
        figures = model.figures
        measured = (
            NOT_MEASURED
            if figures is None
            else f"{figures.hit1:.3f} / {figures.mean_average_precision:.3f} / {figures.speed:.1f}"
        )
        name = f"{model.name} (default)" if model.is_default else model.name
        words = "yes" if model.has_text else "no"
        cells = (
            (name, state)
            if is_narrow
            else (
                name,
                model.input_size,
                model.dimension,
                model.megabytes,
                words,
                state,
                measured,
                model.licence,
                model.source,
            )
        )
        table.add_row(*map(text, cells))
    if is_narrow:
        table.caption = text("A terminal of 100 columns shows more, and --format json all.")
        where.print(table)
        return
    table.caption = text(
        "Measured on whole photos, 435 queries, with nothing learned from their sources; speed is that of the "
        "networks, the default's is 1. 'imgsearch eval FOLDER --model NAME' measures on yours."
    )
    where.print(table)
