"""Photo-like JPEGs of one megapixel, made from the sample catalogue: enlarged, with camera-like noise.

How long a JPEG takes to decode depends on its bits per pixel. Noise and quality are chosen to give 0.84: the evaluation
photos, of a fifth of a megapixel, have a median of 1.16, and scaling them to half their sides multiplies it by 1.5, so
that photos of twice the sides can be expected at about 0.8.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.setting import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (1155, 866)
DISTINCT = 40
NOISE = 3
QUALITY = 85


def make_photos(folder: Path, count: int) -> None:
    """Write ``count`` files of different bytes; their pixels repeat after DISTINCT."""
    sources = sorted((ROOT / "sample_data" / "catalogue").rglob("*.jpg"))
    generator = np.random.default_rng(1)
    encoded = []
    for number in range(min(DISTINCT, count)):
        with Image.open(sources[number % len(sources)]) as source:
            pixels = np.asarray(source.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC), np.float32)
        noisy = np.clip(pixels + generator.normal(0, NOISE, pixels.shape), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=QUALITY)
        encoded.append(buffer.getvalue())
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        # Bytes behind the end of a JPEG mean nothing to a decoder, and make another file of it.
        (folder / f"{number:05}.jpg").write_bytes(encoded[number % len(encoded)] + number.to_bytes(4, "big"))
