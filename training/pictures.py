"""The pictures that parameters are learned from, and what is kept apart from them.

The evaluation data (README.md of that folder tells its layout) has three parts whose pictures partly come from the same
files of the same sources. ``source_sha1`` in its manifest tells which, so that nothing is learned from what a figure is
measured on.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.setting import EVALUATION_DATA

Row = dict[str, str]
LONGEST = 400
OPAQUE = 40
WHITE = 238
TUXPAINT = "tuxpaint"
WITHOUT_OBJECTS = ("symbols/alph", "symbols/math", "symbols/shapes", "symbols/music")


@dataclass(frozen=True)
class EvaluationData:
    """The tables of the evaluation data, and its pictures.

    Args:
        folder: where the data lies.
        without: sources, as the tables name them, of which nothing is learned: their rows are not there.
    """

    folder: Path = EVALUATION_DATA
    without: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.without:
            return
        known = {row["source"] for row in self.manifest}
        if unknown := self.without - known:
            raise ValueError(f"no such source: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")

    def rows(self, table: str) -> list[Row]:
        """A table without what is left out."""
        return [row for row in self.all_rows(table) if row["source"] not in self.without]

    def all_rows(self, table: str) -> list[Row]:
        with (self.folder / table).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @cached_property
    def retrieval(self) -> list[Row]:
        return self.rows("retrieval/groundtruth.csv")

    @cached_property
    def gallery(self) -> list[Row]:
        return [row for row in self.retrieval if row["split"] == "gallery"]

    @cached_property
    def labels(self) -> list[Row]:
        return self.rows("categories/labels.csv")

    @cached_property
    def boxes(self) -> list[Row]:
        return self.rows("subjects/boxes.csv")

    @cached_property
    def more(self) -> list[Row]:
        """Further photos to learn from, none of them in another part."""
        used = {row["source_sha1"] for row in self.manifest}
        return [row for row in self.rows("more/more.csv") if row["source_sha1"] not in used]

    @cached_property
    def manifest(self) -> list[Row]:
        """Of every picture, whatever is left out: what is measured must be known in any case."""
        return self.all_rows("manifest.csv")

    def origins_of(self, part: str, table: str) -> set[str]:
        """The checksums of all files behind a part, whatever is left out."""
        return {self.origin(part, row) for row in self.all_rows(f"{part}/{table}")}

    @cached_property
    def origins(self) -> dict[str, str]:
        """File below the data's folder to the checksum of the source's file."""
        return {row["file"]: row["source_sha1"] for row in self.manifest}

    def origin(self, part: str, row: Row) -> str:
        return self.origins[f"{part}/{row['file']}"]

    def picture(self, part: str, row: Row) -> Image.Image:
        with Image.open(self.folder / part / row["file"]) as image:
            return image.convert("RGB")

    def unlabelled(self) -> list[Image.Image]:
        """The gallery, and pictures of the other two parts that retrieval does not use; no query, and no labels."""
        retrieval = self.origins_of("retrieval", "groundtruth.csv")
        others = {
            self.origin(part, row): self.picture(part, row)
            for part, rows in (("categories", self.labels), ("subjects", self.boxes))
            for row in rows
            if self.origin(part, row) not in retrieval
        }
        return [*others.values(), *(self.picture("retrieval", row) for row in self.gallery)]


def stamps(folder: Path, data: EvaluationData) -> list[Image.Image]:
    """Cut-outs of Tux Paint (photos with an alpha channel), without those that the evaluation data uses."""
    if any(source.startswith(TUXPAINT) for source in data.without):
        return []
    used = {Path(row["source_path"]).stem.partition("_")[0] for row in data.manifest if TUXPAINT in row["source"]}
    found = []
    for path in sorted(folder.rglob("*.png")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(WITHOUT_OBJECTS) or "cartoon" in name or path.stem.partition("_")[0] in used:
            continue
        with Image.open(path) as opened:
            image = opened.convert("RGBA")
        if (np.asarray(image)[..., 3] < 20).mean() >= 0.1:
            found += _tight(image)
    return found


def catalogue_cutouts(data: EvaluationData) -> list[Image.Image]:
    """Products on white of the gallery and of the category pictures, cut out; none that the boxes are measured on."""
    measured = data.origins_of("subjects", "boxes.csv")
    sources = ("magento", "solidus", "Google")
    pictures = [
        data.picture(part, row)
        for part, rows in (("retrieval", data.gallery), ("categories", data.labels))
        for row in rows
        if data.origin(part, row) not in measured
        and (row["source"].startswith(sources) if part == "retrieval" else not row["source"].startswith(TUXPAINT))
    ]
    return [cutout for picture in pictures for cutout in _off_white(picture)]


def photos(data: EvaluationData) -> list[Image.Image]:
    """Whole pictures of the gallery and of the categories; none that the boxes are measured on."""
    measured = data.origins_of("subjects", "boxes.csv")
    return [
        data.picture(part, row)
        for part, rows in (("retrieval", data.gallery), ("categories", data.labels))
        for row in rows
        if data.origin(part, row) not in measured
    ]


def backgrounds(folder: Path) -> list[Image.Image]:
    """Wallpapers, scaled down."""
    found = []
    for path in sorted(path for suffix in ("jpg", "png", "webp") for path in folder.rglob(f"*.{suffix}")):
        with Image.open(path) as opened:
            opened.draft("RGB", (1200, 1200))
            image = opened.convert("RGB")
        image.thumbnail((1200, 1200))
        if min(image.size) > 300:
            found.append(image)
    return found


def _tight(image: Image.Image) -> list[Image.Image]:
    image.thumbnail((LONGEST, LONGEST))
    box = image.getchannel("A").point(lambda value: 255 * (value > OPAQUE)).getbbox()
    return [image.crop(box)] if box else []


def _off_white(picture: Image.Image) -> list[Image.Image]:
    """The picture without the white that reaches in from its border; nothing if the border is not white."""
    picture = picture.copy()
    picture.thumbnail((LONGEST, LONGEST))
    pixels = np.asarray(picture)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if (border.min(axis=1) > WHITE - 3).mean() < 0.9:
        return []
    white = pixels.min(axis=2) > WHITE
    outside = np.zeros_like(white)
    outside[0], outside[-1], outside[:, 0], outside[:, -1] = white[0], white[-1], white[:, 0], white[:, -1]
    while True:
        spread = outside.copy()
        spread[1:] |= outside[:-1]
        spread[:-1] |= outside[1:]
        spread[:, 1:] |= outside[:, :-1]
        spread[:, :-1] |= outside[:, 1:]
        spread &= white
        if np.array_equal(spread, outside):
            break
        outside = spread
    mask = Image.fromarray(np.where(outside, 0, 255).astype(np.uint8))
    cutout = picture.convert("RGBA")
    cutout.putalpha(mask.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(1)))
    cut = _tight(cutout)
    return [one for one in cut if one.width * one.height >= 2000]
