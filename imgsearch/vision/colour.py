"""The colour block of a feature, as it is converted: a whitened histogram of the subject's colours. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from imgsearch.vision.network_constants import (
    BACKGROUND_WEIGHT,
    CENTRE_WIDTH,
    CHROMA_BINS,
    CHROMA_LIMIT,
    DIFFERENCE_RANGE,
    LEAST_DIFFERENCE,
    LIGHTNESS_BINS,
    MOST_EXPOSURE,
    SIDE,
    SRGB_TO_XYZ,
    WHITE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

__all__ = ["ColourBlock", "colour_histogram", "exposed"]


def lab(planes: torch.Tensor) -> torch.Tensor:
    """CIE L*a*b* (D65) of sRGB planes in 0..1, shape (n, 3, rows, columns)."""
    linear = torch.where(planes <= 0.04045, planes / 12.92, ((planes.clamp(min=0.04045) + 0.055) / 1.055).pow(2.4))
    matrix = torch.tensor(SRGB_TO_XYZ, device=planes.device) / torch.tensor(WHITE, device=planes.device)[:, None]
    xyz = nn.functional.conv2d(linear, matrix[:, :, None, None])
    edge = 6 / 29
    roots = torch.where(xyz > edge**3, xyz.clamp(min=edge**3).pow(1 / 3), xyz / (3 * edge**2) + 4 / 29)
    x, y, z = roots.unbind(dim=1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def exposed(planes: torch.Tensor) -> torch.Tensor:
    """Pictures with the brightest place as bright as can be, as if exposed longer.

    All values of a picture are multiplied by one factor, 1 to MOST_EXPOSURE. Where anything is white, it is 1.

    Args:
        planes: sRGB in 0..1, shape (n, 3, SIDE, SIDE).
    """
    brightest = planes.amax(dim=(1, 2, 3), keepdim=True)
    return planes / brightest.clamp(min=1 / MOST_EXPOSURE)


def colour_histogram(pixels: torch.Tensor, *, normalises_exposure: bool = True) -> torch.Tensor:
    """Square roots of a histogram of colours in L*a*b*, in which what differs from the border counts most.

    Args:
        pixels: shape (n, 3, rows, columns), RGB in 0..255.
        normalises_exposure: whether a picture and a darker copy of it are to have the same histogram.

    Returns:
        Shape (n, 196): lightness by a* by b*; the squares of a row add up to 1.
    """
    planes = nn.functional.interpolate(pixels, size=(SIDE, SIDE), mode="area") / 255.0
    colours = lab(exposed(planes) if normalises_exposure else planes)
    border = torch.cat([colours[:, :, 0], colours[:, :, -1], colours[:, :, 1:-1, 0], colours[:, :, 1:-1, -1]], dim=2)
    # The median. OpenVINO has no operation for torch.median.
    background = border.sort(dim=2).values[:, :, border.shape[2] // 2]
    difference = (colours - background[:, :, None, None]).square().sum(dim=1).sqrt()
    places = torch.linspace(-1, 1, SIDE, device=pixels.device).square()
    central = torch.exp(-(places[:, None] + places[None, :]) / (2 * CENTRE_WIDTH**2))
    subject = BACKGROUND_WEIGHT + ((difference - LEAST_DIFFERENCE) / DIFFERENCE_RANGE).clamp(0, 1)
    weights = (central * subject).flatten(1)
    light, first, second = colours.flatten(2).unbind(dim=1)
    light = _shares(light, 0.0, 100.0, LIGHTNESS_BINS) * weights[:, :, None]
    first, second = (_shares(chroma, -CHROMA_LIMIT, CHROMA_LIMIT, CHROMA_BINS) for chroma in (first, second))
    chromas = (first[:, :, :, None] * second[:, :, None, :]).flatten(2)
    counts = (light.transpose(1, 2) @ chromas).flatten(1)
    return (counts / counts.sum(dim=1, keepdim=True)).clamp(min=0).sqrt()


def _shares(values: torch.Tensor, low: float, high: float, bins: int) -> torch.Tensor:
    """What each bin gets of a value, linear in the distance to the bin's centre; shape (n, pixels, bins)."""
    places = (values.clamp(low, high) - low) * ((bins - 1) / (high - low))
    centres = torch.arange(bins, device=values.device, dtype=values.dtype)
    return (1 - (places[:, :, None] - centres).abs()).clamp(min=0)


class ColourBlock(nn.Module):
    """From pixels to the colour block.

    Args:
        parameters: of ``training/feature.py``: the mean histogram, and the leading principal directions of histograms,
            each divided by its singular value.
        normalises_exposure: as feature version 4 and later ones do.
    """

    origin: torch.Tensor
    projection: torch.Tensor

    def __init__(self, parameters: Mapping[str, npt.NDArray[np.generic]], *, normalises_exposure: bool = True) -> None:
        super().__init__()
        self.normalises_exposure = normalises_exposure
        self.register_buffer("origin", torch.from_numpy(parameters["origin"]).float())
        self.register_buffer("projection", torch.from_numpy(parameters["projection"]).float())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """From shape (n, 3, rows, columns), RGB in 0..255, to shape (n, 64), L2-normalised."""
        histogram = colour_histogram(pixels, normalises_exposure=self.normalises_exposure)
        block: torch.Tensor = nn.functional.normalize((histogram - self.origin) @ self.projection, dim=1)
        return block
