"""The same thing seen differently: what a search must not mind."""

from __future__ import annotations

import random
import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from imgsearch.values import Region
from imgsearch.vision.saliency import Decoder
from imgsearch.vision.subject_boxes import MIN_SIDE, find_subjects, with_context
from imgsearch.vision.trained_weights import SUBJECT, load_parameters
from training.composites import SIDE
from training.networks import Activations

CROP = 260
"""Side of what the networks see of a subject, in pixels."""
OPACITIES = 0.2, 0.7
"""Of watermarks, the least and the greatest."""


def heat_maps(pictures: list[Image.Image], decoder: Decoder | None = None) -> np.ndarray:
    """What the decoder, by default the package's, finds; shape (n, rows, columns), 0..1."""
    squashed = [np.asarray(one.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2)) for one in pictures]
    stages = Activations(0, SIDE, stages=True)(squashed)
    decoder = decoder or Decoder().load(load_parameters(SUBJECT))
    with torch.no_grad():
        parts = [
            decoder([torch.from_numpy(maps[first : first + 64]).float() for maps in stages]).sigmoid().numpy()
            for first in range(0, len(pictures), 64)
        ]
    return np.concatenate(parts)


def subjects(pictures: list[Image.Image], decoder: Decoder | None = None) -> list[Region]:
    """The main subject of each."""
    heats = heat_maps(pictures, decoder)
    return [find_subjects(heat, *one.size)[0] for heat, one in zip(heats, pictures, strict=True)]


def cut(picture: Image.Image, region: Region, *, context: bool = True) -> Image.Image:
    """A region as the networks see it."""
    seen = with_context(region, *picture.size) if context else region
    box = (seen.x1, seen.y1, seen.x2, seen.y2)
    return picture.resize((CROP, CROP), Image.Resampling.BICUBIC, box=box, reducing_gap=2)


def changed(picture: Image.Image, region: Region, draw: random.Random) -> Image.Image:
    """Another view of a subject: framed, lit, turned or bent differently, blurred, or a part of it."""
    view = cut(picture, _reframed(region, picture, draw))
    if draw.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if draw.random() < 0.7:
        fill = tuple(draw.randrange(256) for _ in range(3))
        view = view.rotate(draw.uniform(-25, 25), Image.Resampling.BICUBIC, fillcolor=fill)
    view = ImageEnhance.Brightness(view).enhance(draw.uniform(0.6, 1.4))
    view = ImageEnhance.Contrast(view).enhance(draw.uniform(0.7, 1.3))
    view = ImageEnhance.Color(view).enhance(draw.uniform(0.6, 1.4))
    if draw.random() < 0.3:
        view = view.filter(ImageFilter.GaussianBlur(draw.uniform(0.5, 2)))
    if draw.random() < 0.3:
        d = [draw.uniform(0, 0.15) * CROP for _ in range(8)]
        corners = (d[0], d[1], d[2], CROP - d[3], CROP - d[4], CROP - d[5], CROP - d[6], d[7])
        view = view.transform((CROP, CROP), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    return view


def piece(picture: Image.Image, region: Region, draw: random.Random) -> Image.Image:
    """A piece out of the middle of a subject, mirrored or not."""
    across, down = region.x2 - region.x1, region.y2 - region.y1
    share = draw.uniform(0.45, 0.85)
    left = region.x1 + round(draw.uniform(0.2, 0.8) * (1 - share) * across)
    top = region.y1 + round(draw.uniform(0.2, 0.8) * (1 - share) * down)
    right = min(picture.width, max(left + MIN_SIDE, round(left + share * across)))
    bottom = min(picture.height, max(top + MIN_SIDE, round(top + share * down)))
    view = cut(picture, Region(left, right, top, bottom), context=False)
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else view


def marked(view: Image.Image, draw: random.Random) -> Image.Image:
    """A view with a watermark: letters of any size, colour and direction over all of it, or one line."""
    diagonal = round((view.width**2 + view.height**2) ** 0.5)
    size = round(diagonal * draw.uniform(0.03, 0.14))
    font = ImageFont.load_default(size)
    text = (
        "".join(draw.choice(string.ascii_letters + string.digits + "  .-") for _ in range(draw.randrange(4, 16))) + "  "
    )
    layer = Image.new("RGBA", (diagonal, diagonal))
    canvas = ImageDraw.Draw(layer)
    repeats = 1 + diagonal // max(1, round(canvas.textlength(text, font)))
    alpha = round(255 * draw.uniform(*OPACITIES))
    light = draw.random() < 0.7
    fill, edge = (255, 255, 255), (40, 40, 40)
    if not light:
        fill, edge = tuple(draw.randrange(100) for _ in range(3)), (230, 230, 230)
    if draw.random() < 0.2:
        fill = tuple(draw.randrange(256) for _ in range(3))
    stroke = draw.choice((0, 0, 1, 1, 2))
    top, step = draw.uniform(-size, size), size * draw.uniform(1.3, 4)
    if draw.random() < 0.25:  # one line
        top, step = diagonal / 2 - size, float(diagonal)
    while top < diagonal:
        canvas.text(
            (-size * draw.uniform(0, 3), top),
            text * (repeats + 1),
            fill=(*fill, alpha),
            font=font,
            stroke_width=stroke,
            stroke_fill=(*edge, alpha),
        )
        top += step
    layer = layer.rotate(draw.choice((0, draw.uniform(-60, 60))), Image.Resampling.BICUBIC)
    left, upper = (diagonal - view.width) // 2, (diagonal - view.height) // 2
    layer = layer.crop((left, upper, left + view.width, upper + view.height))
    return Image.alpha_composite(view.convert("RGBA"), layer).convert("RGB")


def _reframed(region: Region, picture: Image.Image, draw: random.Random) -> Region:
    across, down = region.x2 - region.x1, region.y2 - region.y1
    margin = draw.uniform(-0.1, 0.2)
    x1, x2 = region.x1 - margin * across, region.x2 + margin * across
    y1, y2 = region.y1 - margin * down, region.y2 + margin * down
    x1, x2 = (edge + draw.uniform(-0.12, 0.12) * across for edge in (x1, x2))
    y1, y2 = (edge + draw.uniform(-0.12, 0.12) * down for edge in (y1, y2))
    if draw.random() < 0.3:  # a part of it
        share = draw.uniform(0.55, 0.9)
        x, y = draw.uniform(0, 1 - share), draw.uniform(0, 1 - share)
        x1, x2 = x1 + x * (x2 - x1), x1 + (x + share) * (x2 - x1)
        y1, y2 = y1 + y * (y2 - y1), y1 + (y + share) * (y2 - y1)
    left, top = max(0, round(x1)), max(0, round(y1))
    right, bottom = min(picture.width, round(x2)), min(picture.height, round(y2))
    if right - left < 10 or bottom - top < 10:
        return region
    return Region(left, right, top, bottom)
