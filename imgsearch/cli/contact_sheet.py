"""A contact sheet: one HTML file with small copies of the query and of its results, for looking at a search.

The pictures are read from where their owner keeps them, and go into the file that was asked for, nowhere else.
"""

from __future__ import annotations

import base64
import shutil
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from imgsearch.cli.output import safe
from imgsearch.errors import InputError
from imgsearch.files import atomic_file, file_errors, private_opener

if TYPE_CHECKING:
    from pathlib import Path

    from imgsearch.engine.engine import Hit
    from imgsearch.instance import Instance
    from imgsearch.records import Item, PictureSource

__all__ = ["Row", "picture_of", "write"]

SIDE: Final = 220

STYLE: Final = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fafafa }
h2 { font-size: 1rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere }
.row { display: flex; flex-wrap: wrap; gap: .75rem }
figure { margin: 0; padding: .5rem; width: 220px; background: #fff; border: 1px solid #ddd; border-radius: 6px }
figure.query { border-color: #2563eb }
figure div { height: 220px; display: flex; align-items: center; justify-content: center; color: #888 }
img { max-width: 220px; max-height: 220px }
figcaption { font-size: .85rem; overflow-wrap: anywhere }
b { color: #15803d }
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A query and its results."""

    name: str
    picture: PictureSource | None
    hits: list[Hit]


def write(target: Path, rows: list[Row], instance: Instance) -> None:
    """Write the sheet; the file appears whole. A new one is its owner's alone, one that is there keeps its mode.

    Raises:
        StorageFull, StorageUnwritable
    """
    body = "".join(_row(row, instance) for row in rows)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>imgsearch</title>'
        f"<style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
    with file_errors(target.parent), atomic_file(target) as temporary:
        with open(temporary, "x", encoding="utf-8", errors="backslashreplace", opener=private_opener) as sheet:
            sheet.write(page)
        if target.exists():
            shutil.copymode(target, temporary)


def _row(row: Row, instance: Instance) -> str:
    figures = [_figure(row.picture, "query", "query", instance)]
    for hit in row.hits:
        key = hit.item.key
        score = "same picture" if hit.identical else f"{hit.score:.3f}"
        caption = f"<b>{score}</b><br>{escape(safe(key.product_id))}<br>{escape(safe(key.pic_name))}"
        figures.append(_figure(picture_of(hit.item), caption, "hit", instance))
    return f'<h2>{escape(safe(row.name))}</h2><div class="row">{"".join(figures)}</div>'


def picture_of(item: Item) -> PictureSource | None:
    """Where the owner keeps the picture of an item, if it was added from a file."""
    from imgsearch.sources.files import FilePicture

    return None if item.location is None else FilePicture(item.location)


def _figure(picture: PictureSource | None, caption: str, css_class: str, instance: Instance) -> str:
    try:
        if picture is None:
            raise InputError("kept elsewhere")
        data = base64.b64encode(instance.thumbnail(picture, SIDE)).decode("ascii")
        shown = f'<img alt="" src="data:image/jpeg;base64,{data}">'
    except InputError as error:
        shown = escape(error.message)
    return f'<figure class="{css_class}"><div>{shown}</div><figcaption>{caption}</figcaption></figure>'
