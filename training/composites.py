"""Cut-outs on other backgrounds: pictures whose subject is known to the pixel."""

from __future__ import annotations

import math
import random
import string

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

SIDE = 256
CROWDED = 0.4
"""Share of the composites with things that the border cuts off, beside a subject that it does not."""
PRINTED = 0.15
"""Share of the subjects that are flat things with print: cards, boards, labels."""
SURFACES = 0.3
"""Share of the backgrounds that are drawn as surfaces."""


class Composer:
    """Makes composites; the same ones for the same seed and material."""

    def __init__(self, stamps: list[Image.Image], products: list[Image.Image], scenes: list[Image.Image], seed: int):
        self.stamps, self.products, self.scenes = stamps, products, scenes
        self.random = random.Random(seed)
        self.noise = np.random.default_rng(seed)

    def picture(self) -> tuple[Image.Image, Image.Image]:
        """One composite of SIDE x SIDE pixels and the mask of its subject."""
        draw = self.random
        scene = self.background()
        crowded = draw.random() < CROWDED
        if crowded:
            for _ in range(draw.choice([1, 1, 2, 3, 4])):
                scene = self.bystander(scene)
        elif draw.random() < 0.25:  # something small at the side that is not the subject
            scene, _ = self.paste(
                scene, self.any_cutout(), draw.uniform(0.01, 0.05), (draw.choice([0, 1]), draw.random())
            )
        if crowded or draw.random() < 0.25:
            share = math.exp(draw.uniform(math.log(0.012), math.log(0.45)))
        else:  # Two in three of medium size, one close up, even beyond the frame.
            share = draw.choice(
                [draw.uniform(0.06, 0.6) ** 1.2, draw.uniform(0.06, 0.6) ** 1.2, draw.uniform(0.4, 1.6)]
            )
        scene, mask = self.paste(scene, self.subject(), share)
        if not crowded and draw.random() < 0.12:
            scene, second = self.paste(scene, self.any_cutout(), draw.uniform(0.05, 0.3))
            mask = Image.fromarray(np.maximum(np.asarray(mask), np.asarray(second)))
        return self.lit(scene), mask

    def subject(self) -> Image.Image:
        """Something to be found: of the stamps, of the products, or a printed thing."""
        kind = self.random.random()
        if kind < PRINTED:
            return printed(self.random)
        return self.random.choice(self.stamps if kind < (1 + PRINTED) / 2 else self.products)

    def bystander(self, scene: Image.Image) -> Image.Image:
        """The scene with something that its border cuts off, which is therefore not the subject, whatever its size."""
        draw = self.random
        share = math.exp(draw.uniform(math.log(0.03), math.log(0.5)))
        cutout = self.subject() if draw.random() < 0.7 else printed(draw)
        along = draw.uniform(-0.1, 1.1)
        beyond = draw.choice([draw.uniform(-0.08, 0.12), draw.uniform(0.88, 1.08)])
        centre = (along, beyond) if draw.random() < 0.5 else (beyond, along)
        return self.paste(scene, cutout, share, centre=centre)[0]

    def lit(self, scene: Image.Image) -> Image.Image:
        """Now and then, light that falls off to one side, or noise."""
        draw = self.random
        if draw.random() < 0.3:
            y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
            angle, strength = draw.uniform(0, 2 * math.pi), draw.uniform(0.1, 0.7)
            light = 1 + strength * (x * math.cos(angle) + y * math.sin(angle))
            scene = Image.fromarray((np.asarray(scene) * light[..., None]).clip(0, 255).astype(np.uint8))
        if draw.random() < 0.2:
            noise = self.noise.normal(0, draw.uniform(2, 12), (SIDE, SIDE, 1))
            scene = Image.fromarray((np.asarray(scene) + noise).clip(0, 255).astype(np.uint8))
        return scene

    def any_cutout(self) -> Image.Image:
        return self.random.choice([*self.stamps, *self.products])

    def background(self) -> Image.Image:
        """Plain, a gradient, stripes, a surface, print, or a part of a photo."""
        draw, kind = self.random, self.random.random()
        if draw.random() < SURFACES:
            return self.surface() if draw.random() < 0.8 else _text(draw)
        if kind < 0.25:
            plain = (
                tuple(draw.randrange(256) for _ in range(3)) if draw.random() < 0.5 else (draw.randrange(225, 256),) * 3
            )
            return Image.new("RGB", (SIDE, SIDE), plain)
        if kind < 0.4:
            cells = draw.choice([2, 3, 5, 9, 17, 33, 65])
            values = self.noise.integers(0, 256, (cells, cells, 3)).astype(np.float32)
            if draw.random() < 0.6:
                values = values.mean(axis=2, keepdims=True) * np.array([draw.uniform(0.5, 1) for _ in range(3)])
            strength = draw.uniform(0.2, 1)
            values = values * strength + np.array([draw.randrange(256) for _ in range(3)]) * (1 - strength)
            return Image.fromarray(values.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        if kind < 0.5:
            frequency, angle = draw.uniform(3, 20), draw.uniform(0, math.pi)
            y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
            wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) * frequency * 2 * math.pi)
            if draw.random() < 0.5:
                wave *= np.sin((-x * math.sin(angle) + y * math.cos(angle)) * frequency * 2 * math.pi)
            if draw.random() < 0.5:
                wave = np.sign(wave)
            one, other = (np.array([draw.randrange(256) for _ in range(3)]) for _ in range(2))
            mixture = ((wave + 1) / 2)[..., None]
            return Image.fromarray((one * mixture + other * (1 - mixture)).astype(np.uint8))
        photo = draw.choice(self.scenes)
        side = draw.uniform(0.25, 1) * min(photo.size)
        x, y = draw.uniform(0, photo.width - side), draw.uniform(0, photo.height - side)
        part = photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side), reducing_gap=2)
        return part.filter(ImageFilter.GaussianBlur(draw.uniform(0.5, 4))) if draw.random() < 0.4 else part

    def surface(self) -> Image.Image:
        """Something like wood, carpet or cloth: noise of several sizes, drawn out in one direction or not."""
        draw = self.random
        total = np.zeros((SIDE, SIDE), np.float32)
        drawn_out = draw.choice([1, 1, 4, 12, 30])
        for cells in (6, 20, 64, 200):
            fine = self.noise.normal(0, 1, (cells, max(2, cells // drawn_out))).astype(np.float32)
            grown = Image.fromarray(fine).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            total += draw.uniform(0, 1) * np.asarray(grown)
        if draw.random() < 0.5:
            total = total.T
        total *= draw.uniform(4, 45) / (total.std() + 1e-6)
        hue = np.array([draw.randrange(20, 245) for _ in range(3)])
        grey = hue.mean()
        colour = grey + draw.uniform(0.1, 0.9) * (hue - grey)
        return Image.fromarray((colour + total[..., None]).clip(0, 255).astype(np.uint8))

    def paste(
        self,
        scene: Image.Image,
        cutout: Image.Image,
        share: float,
        place: tuple[float, float] | None = None,
        *,
        centre: tuple[float, float] | None = None,
    ) -> tuple[Image.Image, Image.Image]:
        """Put a cut-out that covers about ``share`` of the scene onto it; the scene and the cut-out's mask.

        Args:
            scene: stays as it is.
            cutout: with an alpha channel.
            share: of the scene.
            place: where in the room that is left beside it, 0..1 across and down; by default near the middle.
            centre: instead, where its centre lies in the scene, in shares of the side.
        """
        draw = self.random
        ratio = cutout.width / cutout.height * draw.uniform(0.7, 1.4)
        side = SIDE * math.sqrt(share)
        width, height = side * math.sqrt(ratio), side / math.sqrt(ratio)
        fits = min(1.0, SIDE * 0.98 / width, SIDE * 0.98 / height) if share < 0.5 else 1.0
        if draw.random() < 0.5:
            cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        size = max(8, int(width * fits)), max(8, int(height * fits))
        cutout = cutout.resize(size, Image.Resampling.BICUBIC, reducing_gap=2)
        if draw.random() < 0.4:
            cutout = cutout.rotate(draw.uniform(-35, 35), Image.Resampling.BICUBIC, expand=True)
            if share < 0.5:
                cutout.thumbnail((SIDE, SIDE))
        across, down = place or (draw.triangular(0, 1, 0.5), draw.triangular(0, 1, 0.5))
        x, y = int(across * (SIDE - cutout.width)), int(down * (SIDE - cutout.height))
        if centre:
            x, y = int(centre[0] * SIDE - cutout.width / 2), int(centre[1] * SIDE - cutout.height / 2)
        alpha = cutout.getchannel("A")
        if draw.random() < 0.4:
            shadow = Image.new("L", (SIDE, SIDE), 0)
            shadow.paste(alpha.point(lambda value: value // 2), (x + draw.randrange(-4, 5), y + draw.randrange(8)))
            black = Image.new("RGB", (SIDE, SIDE))
            scene = Image.composite(black, scene, shadow.filter(ImageFilter.GaussianBlur(5)))
        scene = scene.copy()
        scene.paste(recoloured(cutout.convert("RGB"), draw), (x, y), alpha)
        mask = Image.new("L", (SIDE, SIDE), 0)
        mask.paste(alpha, (x, y))
        return scene, mask


def recoloured(picture: Image.Image, draw: random.Random) -> Image.Image:
    """Brightness, contrast and saturation, each changed a little or not at all."""
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if draw.random() < 0.5:
            picture = enhancer(picture).enhance(draw.uniform(0.65, 1.35))
    return picture


def printed(draw: random.Random) -> Image.Image:
    """A flat thing of a random shape with print on it, seen from anywhere above: a card, a board, a label."""
    ratio = math.exp(draw.uniform(-1.1, 1.1))
    width, height = round(200 * ratio**0.5), round(200 / ratio**0.5)
    light = draw.random() < 0.5
    base = tuple(draw.randrange(200, 256) if light else draw.randrange(120) for _ in range(3))
    thing = Image.new("RGB", (width, height), base)
    canvas = ImageDraw.Draw(thing)
    colours = [tuple(draw.randrange(256) for _ in range(3)) for _ in range(draw.choice([1, 2, 4]))]
    for _ in range(draw.randrange(1, 25)):
        x, y = draw.uniform(0.03, 0.9) * width, draw.uniform(0.03, 0.9) * height
        across, down = (math.exp(draw.uniform(-3.5, -0.9)) * side for side in (width, height))
        box, fill = (x, y, min(x + across, width * 0.97), min(y + down, height * 0.97)), draw.choice(colours)
        kind = draw.random()
        if kind < 0.4:
            canvas.rectangle(box, fill=fill)
        elif kind < 0.65:
            canvas.ellipse(box, fill=fill)
        else:
            _write(canvas, draw, (x, y), round(max(8, down)), fill)
    mask = Image.new("L", (width, height), 0)
    corner = draw.choice([0, 0, 0.06, 0.15]) * min(width, height)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, width - 1, height - 1), corner, fill=255)
    thing.putalpha(mask)
    if draw.random() < 0.5:
        thing = thing.rotate(draw.uniform(-90, 90), Image.Resampling.BICUBIC, expand=True)
    d = [draw.uniform(0, 0.25) for _ in range(2)]
    corners = (d[0], 0, 0, 1, 1, 1, 1 - d[1], 0) if draw.random() < 0.5 else (0, 0, d[0], 1, 1 - d[1], 1, 1, 0)
    quad = [value * side for value, side in zip(corners, thing.size * 4, strict=True)]
    thing = thing.transform(thing.size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)
    box = thing.getchannel("A").point(lambda value: 255 * (value > 40)).getbbox()
    return thing.crop(box) if box else thing


def _text(draw: random.Random) -> Image.Image:
    """A page full of print."""
    light = draw.randrange(150, 256)
    page = Image.new("RGB", (SIDE * 3 // 2, SIDE * 3 // 2), (light, light, draw.randrange(light - 40, light)))
    canvas, size = ImageDraw.Draw(page), draw.randrange(8, 36)
    for top in range(0, page.height, round(size * 1.3)):
        _write(canvas, draw, (-draw.randrange(9), top), size, (draw.randrange(90),) * 3, 90)
    page = page.rotate(draw.uniform(-60, 60), Image.Resampling.BICUBIC)
    edge = (page.width - SIDE) // 2
    return page.crop((edge, edge, edge + SIDE, edge + SIDE))


def _write(
    canvas: ImageDraw.ImageDraw,
    draw: random.Random,
    place: tuple[float, float],
    size: int,
    fill: tuple[int, ...],
    most: int = 8,
) -> None:
    letters = string.ascii_letters + string.digits + "   .,"
    text = "".join(draw.choice(letters) for _ in range(draw.randrange(1, most) if most < 90 else most))
    canvas.text(place, text, fill=fill, font=ImageFont.load_default(size))
