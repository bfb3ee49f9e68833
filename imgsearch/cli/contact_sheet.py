"""Contact sheets: an HTML file with thumbnails of queries and their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imgsearch.cli import html_page
from imgsearch.cli.html_page import Thumbnails, shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from imgsearch.search.ranking import Hit
    from imgsearch.types import Item, PictureSource
    from imgsearch.values import Region
    from imgsearch.vision.limits import Limits

__all__ = ["Row", "Shown", "picture_of", "shown_item", "write", "write_groups"]

SIDE: Final = 220

STYLE: Final = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fafafa }
h2 { font-size: 1rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere }
.row { display: flex; flex-wrap: wrap; gap: .75rem }
figure { margin: 0; padding: .5rem; width: 220px; background: #fff; border: 1px solid #ddd; border-radius: 6px }
figure.query { border-color: #2563eb }
a { color: inherit }
.frame { position: relative; display: inline-block; line-height: 0 }
.frame i { position: absolute; box-sizing: border-box; border: 2px solid #2563eb; outline: 1px solid #fff }
figure div { height: 220px; display: flex; align-items: center; justify-content: center; color: #888 }
img { max-width: 220px; max-height: 220px }
figcaption { font-size: .85rem; overflow-wrap: anywhere }
b { color: #15803d }
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture on a sheet, with what stands below it."""

    picture: PictureSource | None
    """None if it has no local file."""
    label: str
    names: tuple[str, ...] = ()
    """Lines below the label."""
    region: Region | None = None
    """Drawn into the picture, if it is not all of it."""
    location: Path | None = None
    """The file that the names link to."""
    is_query: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A query and its results."""

    name: str
    query: Shown
    hits: list[Hit]


def write(target: Path, rows: list[Row], limits: Limits) -> None:
    """Write the sheet; ``limits`` apply to the pictures.

    Raises:
        StorageFull, StorageUnwritable
    """
    titled = ((row.name, [row.query, *map(_hit, row.hits)]) for row in rows)
    write_groups(target, titled, limits)


def write_groups(target: Path, groups: Iterable[tuple[str, list[Shown]]], limits: Limits) -> None:
    """Write a sheet of groups, each with a title; ``limits`` apply to the pictures.

    Raises:
        StorageFull, StorageUnwritable
    """
    thumbnails = Thumbnails(limits, SIDE)
    html_page.write(target, "imgsearch", STYLE, "".join(_group(*group, thumbnails) for group in groups))


def shown_item(item: Item, label: str) -> Shown:
    """An item on a sheet: its region is drawn, its names link to its file."""
    return Shown(picture_of(item), label, (item.key.product_id, item.key.pic_name), item.region, item.location)


def picture_of(item: Item) -> PictureSource | None:
    """The file of an item's picture, if it was added from one."""
    from imgsearch.sources.files import FilePicture

    return None if item.location is None else FilePicture(item.location)


def _hit(hit: Hit) -> Shown:
    return shown_item(hit.item, "same picture" if hit.identical else f"{hit.score:.3f}")


def _group(name: str, pictures: list[Shown], thumbnails: Thumbnails) -> str:
    return f'<h2>{shown(name)}</h2><div class="row">{"".join(_figure(one, thumbnails) for one in pictures)}</div>'


def _figure(one: Shown, thumbnails: Thumbnails) -> str:
    image = thumbnails.framed(one.picture, " ".join(one.names) or one.label, one.region)
    names = "<br>".join(map(shown, one.names))
    if one.location is not None:
        names = f'<a href="{shown(one.location.absolute().as_uri())}">{names or shown(one.location.name)}</a>'
    caption = "<br>".join(part for part in (f"<b>{shown(one.label)}</b>", names) if part)
    kind = "query" if one.is_query else "hit"
    return f'<figure class="{kind}"><div>{image}</div><figcaption>{caption}</figcaption></figure>'
