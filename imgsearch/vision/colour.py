"""The colour block of a feature, as it is converted: a whitened histogram of the subject's colours. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

__all__ = ["SIDE", "ColourBlock", "colour_histogram"]

SIDE: Final = 64
"""Side that a region is reduced to before its colours are counted, in pixels."""
CENTRE_WIDTH: Final = 0.5
"""Standard deviation of the weight that places have, in half sides of the region, from its centre."""
LIGHTNESS_BINS: Final = 4
CHROMA_BINS: Final = 7
CHROMA_LIMIT: Final = 60.0
"""Of a* and b*; what lies beyond counts as that."""
BACKGROUND_WEIGHT: Final = 0.1
"""Of pixels that look like the border, beside 1 for those that clearly do not."""
LEAST_DIFFERENCE: Final = 4.0
DIFFERENCE_RANGE: Final = 16.0
"""Distance in Lab from the background at which a pixel begins to count as subject, and over which that rises to 1."""
SRGB_TO_XYZ: Final = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE: Final = (0.95047, 1.0, 1.08883)
"""D65, in XYZ."""


def lab(planes: torch.Tensor) -> torch.Tensor:
    """CIE L*a*b* (D65) of sRGB planes in 0..1, shape (n, 3, rows, columns)."""
    linear = torch.where(planes <= 0.04045, planes / 12.92, ((planes.clamp(min=0.04045) + 0.055) / 1.055).pow(2.4))
    matrix = torch.tensor(SRGB_TO_XYZ, device=planes.device) / torch.tensor(WHITE, device=planes.device)[:, None]
    xyz = nn.functional.conv2d(linear, matrix[:, :, None, None])
    edge = 6 / 29
    roots = torch.where(xyz > edge**3, xyz.clamp(min=edge**3).pow(1 / 3), xyz / (3 * edge**2) + 4 / 29)
    x, y, z = roots.unbind(dim=1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def colour_histogram(pixels: torch.Tensor) -> torch.Tensor:
    """Square roots of a histogram of colours in L*a*b*, in which what differs from the border counts most.

    Args:
        pixels: shape (n, 3, rows, columns), RGB in 0..255.

    Returns:
        Shape (n, 196): lightness by a* by b*; the squares of a row add up to 1.
    """
    colours = lab(nn.functional.interpolate(pixels, size=(SIDE, SIDE), mode="area") / 255.0)
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
    """

    origin: torch.Tensor
    projection: torch.Tensor

    def __init__(self, parameters: Mapping[str, npt.NDArray[np.generic]]) -> None:
        super().__init__()
        self.register_buffer("origin", torch.from_numpy(parameters["origin"]).float())
        self.register_buffer("projection", torch.from_numpy(parameters["projection"]).float())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """From shape (n, 3, rows, columns), RGB in 0..255, to shape (n, 64), L2-normalised."""
        block: torch.Tensor = nn.functional.normalize((colour_histogram(pixels) - self.origin) @ self.projection, dim=1)
        return block
