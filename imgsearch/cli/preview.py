"""Previews in the terminal: Sixel, Kitty's protocol or coloured half blocks, as supported."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from imgsearch.cli.output import console, text
from imgsearch.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from imgsearch.instance import Instance
    from imgsearch.search.ranking import Hit

__all__ = ["show"]

SIDE: Final = 320
WIDTH: Final = 24
"""Width of a picture in character cells."""


def show(hits: list[Hit], instance: Instance) -> None:
    """Print the pictures of the results, as many per row as fit."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.padding import Padding

    cells = []
    for rank, hit in enumerate(hits, 1):
        score = "same" if hit.identical else f"{hit.score:.3f}"
        label = text(f"{rank}  {score}  {hit.item.key.product_id}")
        label.truncate(WIDTH, overflow="ellipsis")
        cells.append(Padding(Group(_image(hit, instance), label), (0, 1, 1, 0)))
    console().print(Columns(cells, width=WIDTH + 1))


def _image(hit: Hit, instance: Instance) -> RenderableType:
    from PIL import Image
    from textual_image.renderable import Image as TerminalImage

    from imgsearch.sources.files import FilePicture

    if hit.item.location is None:
        return text("(no local file)", "dim")
    try:
        thumbnail = instance.thumbnail(FilePicture(hit.item.location), SIDE)
    except InputError as error:
        return text(f"({error.message})", "dim")
    image: RenderableType = TerminalImage(Image.open(io.BytesIO(thumbnail)), width=WIDTH, height="auto")
    return image
