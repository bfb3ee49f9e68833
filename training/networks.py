"""The pretrained networks, with the maps and pooled activations that the learned parts start from."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
import torch
from torch import nn

from imgsearch.vision.embedder import pooled_for_search
from imgsearch.vision.model_builder import load_network
from imgsearch.vision.models import EMBEDDED_MODELS
from imgsearch.vision.runtime import Graph
from imgsearch.vision.saliency import stage_maps
from imgsearch.vision.tensor_ops import centred, resized

if TYPE_CHECKING:
    from collections.abc import Iterable

THREADS = 4


def pretrained(number: int) -> Any:
    """EfficientNet-Lite with its ImageNet weights."""
    return load_network(EMBEDDED_MODELS[f"efficientnet-lite{number}"])[0]


class _Outputs(nn.Module):
    def __init__(self, number: int, size: int | None, *, stages: bool) -> None:
        super().__init__()
        self.network = pretrained(number)
        self.size = size
        self.stages = stages

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        planes = resized(centred(pixels), self.size)
        stages, last = stage_maps(self.network, planes)
        if self.stages:
            return tuple(stages)
        return pooled_for_search(last), last.mean(dim=(2, 3))


class Activations:
    """Runs one network over many pictures.

    Args:
        number: of the EfficientNet-Lite.
        size: side of the square pictures, in pixels.
        inner: side that the network itself is fed with; by default the same.
        stages: give the maps that the decoder reads; otherwise activations pooled for search, and averages.
    """

    def __init__(self, number: int, size: int, *, inner: int | None = None, stages: bool = False) -> None:
        module = _Outputs(number, None if inner == size else inner, stages=stages).eval()
        example = torch.zeros((1, size, size, 3), dtype=torch.uint8)
        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            converted = openvino.convert_model(module, example_input=example, input=[(1, size, size, 3)])
            openvino.save_model(converted, Path(folder) / "model.xml")
            self.graph = Graph(Path(folder) / "model.xml", Path(folder), parallel=True)

    def __call__(self, pictures: Iterable[np.ndarray]) -> list[np.ndarray]:
        """For uint8 arrays of shape (size, size, 3), each output as one float16 array, a row per picture."""
        with ThreadPoolExecutor(THREADS) as threads:
            rows = [[part.astype(np.float16) for part in parts] for parts in threads.map(self.graph, pictures)]
        return [np.stack(column) for column in zip(*rows, strict=True)]
