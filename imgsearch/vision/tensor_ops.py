"""Pixels as the networks take them, and where their numbers are not to be rounded. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["centred", "resized", "unrounded"]


def centred(pixels: torch.Tensor) -> torch.Tensor:
    """From uint8 of shape (n, rows, columns, 3) to planes (n, 3, rows, columns), with mean and deviation 0.5."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def resized(planes: torch.Tensor, size: int | None) -> torch.Tensor:
    """Planes of shape (n, 3, rows, columns) at the side that a network was trained for; None: as they are."""
    if size is None:
        return planes
    return nn.functional.interpolate(planes, size=(size, size), mode="bilinear", align_corners=False)


def unrounded(tensor: torch.Tensor) -> AbstractContextManager[object]:
    """A block in which nothing is rounded to 16 bits, where a device's automatic casting does so around it."""
    return torch.autocast(tensor.device.type, enabled=False)
