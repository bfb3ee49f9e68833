"""Robustness: is a picture of the gallery still found after somebody has edited it?

Every ``gallery`` picture of a ground truth (see ``quality.py``) is indexed, then edited and searched for. "Picture"
means that the first result is the very picture that was edited, "product" that it shows the same product. Editing is
the same in every run: what is random is drawn from a generator seeded with the picture's path. The edited pictures
reach the search as PNG in memory, or as JPEG where that is the edit, so nothing but the edit alters them.
"""

from __future__ import annotations

import io
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from benchmarks.setting import EVALUATION_DATA, ROOT, show
from imgsearch import AddPicture, FilePicture, Instance, Kind, SearchOptions
from imgsearch.evaluation.ground_truth import GroundTruth, Part
from imgsearch.types import Content
from imgsearch.vision.limits import Limits
from imgsearch.vision.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

CROP = 0.6
"""Kept of each side by one crop, of the area by the other."""
JPEG_QUALITY = 20
BRIGHTNESS = 0.5
SMALLER = 0.7
"""Of each side, for a cut-out on another background."""
NEAR_WHITE = 238
"""The least value of the three channels of what counts as background."""
PLAIN_BORDER = 0.85
"""Share of the outermost pixels that must be near white: what is shown may leave the picture on one side."""
LEAST_SUBJECT = 0.03
"""Share of the picture that must be left when the background is taken away."""
WATERMARK = "SAMPLE PICTURE   "
WATERMARK_OPACITY = 0.45


@dataclass(frozen=True)
class InMemory:
    """A picture that lies on no disk."""

    data: bytes

    def token(self) -> None:
        """It has no versions."""

    def read(self, _max_bytes: int) -> Content:
        """Return the bytes, of which the benchmark has never too many."""
        return Content(self.data)


@dataclass
class Found:
    """Counts over queries."""

    queries: int = 0
    picture: int = 0
    product: int = 0

    def row(self) -> tuple[int, float, float]:
        """Queries, hit@1 of the picture, hit@1 of the product."""
        return self.queries, self.picture / self.queries, self.product / self.queries


# The edits: each takes an RGB picture and a generator, and gives the edited picture, or None where it does not apply.


def _same(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return image


def _mirrored(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(image)


def _turned(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return image.transpose(Image.Transpose.ROTATE_90)


def _cropped_sides(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return _centre(image, CROP)


def _cropped_area(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return _centre(image, CROP**0.5)


def _centre(image: Image.Image, share: float) -> Image.Image:
    """The middle of a picture, with that share of each side."""
    left, top = (round(side * (1 - share) / 2) for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def _darkened(image: Image.Image, _: np.random.Generator) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(BRIGHTNESS)


def _watermarked(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Lines of text over the whole picture, rising by 30°: white with a dark edge, so that it shows on any ground."""
    diagonal = round(sum(side**2 for side in image.size) ** 0.5)
    size = max(12, diagonal // 16)
    font = ImageFont.load_default(size)
    layer = Image.new("RGBA", (diagonal, diagonal))
    canvas = ImageDraw.Draw(layer)
    repeats = 1 + diagonal // round(canvas.textlength(WATERMARK, font))
    alpha = round(255 * WATERMARK_OPACITY)
    for number, top in enumerate(range(0, diagonal, 2 * size)):
        canvas.text(
            (-2 * size * (number % 2), top),
            WATERMARK * (repeats + 1),
            fill=(255, 255, 255, alpha),
            font=font,
            stroke_width=max(1, size // 16),
            stroke_fill=(60, 60, 60, alpha),
        )
    layer = layer.rotate(30, Image.Resampling.BICUBIC)
    left, top = (diagonal - image.width) // 2, (diagonal - image.height) // 2
    layer = layer.crop((left, top, left + image.width, top + image.height))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def _on_another_background(image: Image.Image, generator: np.random.Generator) -> Image.Image | None:
    """The subject of a picture on plain white, smaller, somewhere on a texture of the same size."""
    subject = _subject(image)
    if subject is None:
        return None
    scaled = tuple(max(1, round(side * SMALLER)) for side in image.size)
    # A pixel less all around, and soft: a seam of the old white would say where the picture comes from.
    mask = subject.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(0.7)).resize(scaled)
    place = tuple(int(generator.integers(0, whole - part + 1)) for whole, part in zip(image.size, scaled, strict=True))
    result = texture(image.size, generator)
    result.paste(image.resize(scaled, Image.Resampling.LANCZOS), place, mask)
    return result


def _subject(image: Image.Image) -> Image.Image | None:
    """A mask of what is not background; None unless the background is plain and near white.

    Background is what near-white pixels connect with the border (up, down, left and right).
    """
    white = np.asarray(image).min(axis=2) >= NEAR_WHITE
    border = np.zeros_like(white)
    border[[0, -1], :] = border[:, [0, -1]] = True
    if white[border].mean() < PLAIN_BORDER:
        return None
    background = border & white
    while True:
        reached = _along_rows(background, white)
        reached = _along_rows(reached.T, white.T).T
        if (reached == background).all():
            break
        background = reached
    if (~background).mean() < LEAST_SUBJECT:
        return None
    return Image.fromarray(np.where(background, 0, 255).astype(np.uint8))


def _along_rows(seeds: npt.NDArray[np.bool_], allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The seeds, spread over the runs of allowed pixels in their rows; one step of a flood fill."""
    begins = np.ones_like(allowed)
    begins[:, 1:] = allowed[:, 1:] != allowed[:, :-1]
    runs = (np.cumsum(begins.ravel()) - 1).reshape(allowed.shape)
    reached = np.zeros(int(runs[-1, -1]) + 1, dtype=bool)
    reached[runs[seeds]] = True
    return reached[runs] & allowed


def texture(size: tuple[int, int], generator: np.random.Generator) -> Image.Image:
    """Something like a photo of cloth, stone or leaves: clouds of all sizes between three colours, light from a side.

    Each octave of the clouds is half as coarse and has 0.7 of the strength, near to the spectrum of natural pictures.
    """
    width, height = size
    layers = []
    for _ in range(2):
        clouds = np.zeros((height, width), np.float32)
        cells, strength = 2, 1.0
        while cells < max(size):
            grid = generator.normal(0, strength, (cells, cells)).astype(np.float32)
            clouds += np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC))
            cells, strength = cells * 2, strength * 0.7
        layers.append(1 / (1 + np.exp(-1.5 * clouds / clouds.std())))
    # Three greys, each with a tint: the colours of most things are pale.
    first, second, third = generator.uniform(40, 215, (3, 1)) + generator.normal(0, 25, (3, 3))
    one, other = (layer[..., None] for layer in layers)
    colours = first * (1 - one) + (second * (1 - other) + third * other) * one
    angle = generator.uniform(0, 2 * np.pi)
    across = np.cos(angle) * np.linspace(-1, 1, width)[None, :] + np.sin(angle) * np.linspace(-1, 1, height)[:, None]
    lit = colours * (1 + 0.25 * across[..., None]) + generator.normal(0, 4, (height, width, 1))
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


PNG = {"format": "PNG", "compress_level": 1}


@dataclass(frozen=True)
class Edit:
    """What is done to a picture, and how it is saved then."""

    name: str
    change: Callable[[Image.Image, np.random.Generator], Image.Image | None]
    saved: Mapping[str, object] = field(default_factory=lambda: PNG)

    def query(self, image: Image.Image, generator: np.random.Generator) -> InMemory | None:
        """The edited picture; None where the edit does not apply."""
        edited = self.change(image, generator)
        if edited is None:
            return None
        buffer = io.BytesIO()
        edited.save(buffer, **self.saved)
        return InMemory(buffer.getvalue())


EDITS = (
    Edit("nothing (saved as PNG)", _same),
    Edit("mirrored", _mirrored),
    Edit("turned by 90°", _turned),
    Edit("cropped to 60 % of each side", _cropped_sides),
    Edit("cropped to 60 % of the area", _cropped_area),
    Edit(f"JPEG quality {JPEG_QUALITY}", _same, {"format": "JPEG", "quality": JPEG_QUALITY}),
    Edit("half as bright", _darkened),
    Edit("on another background", _on_another_background),
    Edit("watermarked", _watermarked),
)


def measure(folder: Path, kind: Kind = Kind.GENERIC, model: str = DEFAULT_MODEL) -> dict[str, Found]:
    """Index the gallery, edit and search; counts by edit.

    Args:
        folder: of a ground truth.
        kind: of the instance; no category is given, neither when indexing nor when searching.
        model: of the instance.
    """
    truth = GroundTruth.read(folder, [Part.RETRIEVAL]).retrieval
    assert truth is not None
    gallery = truth.gallery
    found = {edit.name: Found() for edit in EDITS}
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "instance"
        Instance.create(target, kind, model=model, limits=Limits(min_side=1))  # a crop may be of any size
        with Instance.open(target) as instance:
            for outcome in instance.apply_stream(
                AddPicture(str(picture.file), picture.key, FilePicture(picture.file)) for picture in gallery
            ):
                if outcome.error is not None:
                    raise outcome.error
            with instance.searching() as searcher:
                for picture in gallery:
                    key = picture.key
                    with Image.open(picture.file) as opened:
                        image = ImageOps.exif_transpose(opened).convert("RGB")
                    for edit in EDITS:
                        query = edit.query(image, np.random.default_rng(zlib.crc32(key.pic_name.encode())))
                        if query is None:
                            continue
                        (hit,) = searcher.by_picture(query, search=SearchOptions(1)).hits
                        counts = found[edit.name]
                        counts.queries += 1
                        counts.picture += hit.item.key == key
                        counts.product += hit.item.key.product_id == key.product_id
    return found


def main() -> None:
    for folder in (EVALUATION_DATA / "retrieval", ROOT / "sample_data"):
        if not (folder / "groundtruth.csv").exists():
            print(f"robustness: no ground truth in {folder}, left out")
            continue
        rows = [(name, *counts.row()) for name, counts in measure(folder).items() if counts.queries]
        show(
            f"Edited pictures as queries, {folder.name}, {DEFAULT_MODEL}",
            ("edit", "queries", "hit@1 picture", "hit@1 product"),
            rows,
        )


if __name__ == "__main__":
    main()
