"""``imgsearch compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli.errors import warn
from imgsearch.cli.opening import announcer
from imgsearch.cli.options import (
    PICTURES,
    STDIN,
    Crop,
    FormatOption,
    Model,
    Quiet,
    RegionOption,
    Weights,
    check_no_links,
    picture_options,
)
from imgsearch.cli.output import Format, console, print_document, print_line, resolve_format
from imgsearch.errors import InputError, UsageError
from imgsearch.service.command_documents import comparison_document

if TYPE_CHECKING:
    from imgsearch.types import PictureSource

__all__ = ["compare"]


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A picture, or - for one on stdin.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    crop: Crop = True,
    region: RegionOption = None,
    region2: Annotated[
        str | None,
        typer.Option(
            metavar="X1,X2,Y1,Y2",
            show_default=False,
            help="Region of B; --region is that of A.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    model: Model = None,
    weights: Weights = None,
    quiet: Quiet = False,
    output_format: FormatOption = None,
) -> None:
    """Score two pictures; needs no instance and stores nothing."""
    from imgsearch.search.compare import compare as compared
    from imgsearch.vision.models import DEFAULT_MODEL

    chosen = resolve_format(output_format)
    check_no_links([first, second], "download the pictures first")
    if first == second == STDIN:
        raise UsageError("stdin holds one picture: give - only once")
    try:
        result = compared(
            _picture(first),
            _picture(second),
            first_options=picture_options(None, crop=crop, region=region),
            second_options=picture_options(None, crop=crop, region=region2),
            model=model or DEFAULT_MODEL,
            weights=weights,
            announce=announcer(quiet=quiet),
        )
    except InputError as error:
        raise type(error)(_named(error.message, first, second), code=error.code) from None
    for warning in result.warnings:
        warn(_named(warning, first, second))
    document = comparison_document(result)
    if chosen is Format.TABLE:
        same = (
            "the same picture"
            if result.identical
            else f"Score {result.score:.3f}, distance {result.distance} of 512 bits"
        )
        console().print(same, markup=False)
    elif chosen is Format.PATHS:
        print_line(str(document["Score"]))
    else:
        print_document(document, one_line=chosen is Format.JSONL)


def _named(message: str, first: str, second: str) -> str:
    return message.replace("first: ", f"{first}: ", 1).replace("second: ", f"{second}: ", 1)


def _picture(given: str) -> PictureSource:
    from imgsearch.sources.files import FilePicture
    from imgsearch.sources.stdin import StreamPicture

    return StreamPicture(sys.stdin.buffer) if given == STDIN else FilePicture(Path(given))
