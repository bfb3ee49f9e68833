"""Pixels as the networks take them. Runs in the converting process only."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["centred", "resized"]


def centred(pixels: torch.Tensor) -> torch.Tensor:
    """From uint8 of shape (n, rows, columns, 3) to planes (n, 3, rows, columns), with mean and deviation 0.5."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def resized(planes: torch.Tensor, size: int | None) -> torch.Tensor:
    """Planes of shape (n, 3, rows, columns) at the side that a network was trained for; None: as they are."""
    if size is None:
        return planes
    return nn.functional.interpolate(planes, size=(size, size), mode="bilinear", align_corners=False)
