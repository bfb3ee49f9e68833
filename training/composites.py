"""Cut-outs on other backgrounds: pictures whose subject is known to the pixel."""

from __future__ import annotations

import math
import random

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

SIDE = 256


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
        if draw.random() < 0.25:  # something small at the side that is not the subject
            scene, _ = self.paste(
                scene, self.any_cutout(), draw.uniform(0.01, 0.05), (draw.choice([0, 1]), draw.random())
            )
        # Two in three of medium size, one close up, even beyond the frame.
        share = draw.choice([draw.uniform(0.06, 0.6) ** 1.2, draw.uniform(0.06, 0.6) ** 1.2, draw.uniform(0.4, 1.6)])
        cutout = draw.choice(self.stamps if draw.random() < 0.5 else self.products)
        scene, mask = self.paste(scene, cutout, share)
        if draw.random() < 0.12:
            scene, second = self.paste(scene, self.any_cutout(), draw.uniform(0.05, 0.3))
            mask = Image.fromarray(np.maximum(np.asarray(mask), np.asarray(second)))
        return scene, mask

    def any_cutout(self) -> Image.Image:
        return self.random.choice([*self.stamps, *self.products])

    def background(self) -> Image.Image:
        """Plain, a gradient, stripes, or a part of a photo."""
        draw, kind = self.random, self.random.random()
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

    def paste(
        self, scene: Image.Image, cutout: Image.Image, share: float, place: tuple[float, float] | None = None
    ) -> tuple[Image.Image, Image.Image]:
        """Put a cut-out that covers about ``share`` of the scene onto it; the scene and the cut-out's mask."""
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
        alpha = cutout.getchannel("A")
        if draw.random() < 0.4:
            shadow = Image.new("L", (SIDE, SIDE), 0)
            shadow.paste(alpha.point(lambda value: value // 2), (x + draw.randrange(-4, 5), y + draw.randrange(8)))
            black = Image.new("RGB", (SIDE, SIDE))
            scene = Image.composite(black, scene, shadow.filter(ImageFilter.GaussianBlur(5)))
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
