"""Contact sheets: an HTML file with thumbnails of queries and their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imgsearch.cli import html_page
from imgsearch.cli.html_page import Thumbnails, shown

if TYPE_CHECKING:
    from pathlib import Path

    from imgsearch.search.ranking import Hit
    from imgsearch.types import Item, PictureSource
    from imgsearch.values import Key
    from imgsearch.vision.limits import Limits

__all__ = ["Row", "Shown", "picture_of", "write", "write_groups"]

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


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of a group."""

    picture: PictureSource | None
    key: Key
    label: str


def write(target: Path, rows: list[Row], limits: Limits) -> None:
    """Write the sheet; ``limits`` apply to the pictures.

    Raises:
        StorageFull, StorageUnwritable
    """
    thumbnails = Thumbnails(limits, SIDE)
    html_page.write(target, "imgsearch", STYLE, "".join(_row(row, thumbnails) for row in rows))


def write_groups(target: Path, groups: list[tuple[str, list[Shown]]], limits: Limits) -> None:
    """Write a sheet of groups, each with a title; ``limits`` apply to the pictures.

    Raises:
        StorageFull, StorageUnwritable
    """
    thumbnails = Thumbnails(limits, SIDE)
    rows = (_titled(title, [_captioned(one, thumbnails) for one in pictures]) for title, pictures in groups)
    html_page.write(target, "imgsearch", STYLE, "".join(rows))


def _row(row: Row, thumbnails: Thumbnails) -> str:
    figures = [_figure(thumbnails.image(row.picture, ""), "query", "query")]
    for hit in row.hits:
        score = "same picture" if hit.identical else f"{hit.score:.3f}"
        figures.append(_captioned(Shown(picture_of(hit.item), hit.item.key, score), thumbnails))
    return _titled(row.name, figures)


def _captioned(one: Shown, thumbnails: Thumbnails) -> str:
    caption = f"<b>{shown(one.label)}</b><br>{shown(one.key.product_id)}<br>{shown(one.key.pic_name)}"
    return _figure(thumbnails.image(one.picture, ""), caption, "hit")


def _titled(name: str, figures: list[str]) -> str:
    return f'<h2>{shown(name)}</h2><div class="row">{"".join(figures)}</div>'


def picture_of(item: Item) -> PictureSource | None:
    """The file of an item's picture, if it was added from one."""
    from imgsearch.sources.files import FilePicture

    return None if item.location is None else FilePicture(item.location)


def _figure(image: str, caption: str, css_class: str) -> str:
    return f'<figure class="{css_class}"><div>{image}</div><figcaption>{caption}</figcaption></figure>'
