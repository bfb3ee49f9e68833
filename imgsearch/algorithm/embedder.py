"""The network as it is converted: pixels in, one short feature out. Runs in the converting process only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Embedder"]

GEM_POWER: Final = 2.0
GEM_FLOOR: Final = 1e-6
CENTRE_WIDTH: Final = 0.5
"""Standard deviation of the weight that places have in the pooling, in half sides of the region, from its centre."""
SINGULAR_VALUE_POWER: Final = -0.5
PROJECTION_SEED: Final = 256


class Embedder(nn.Module):
    """Normalisation, network, pooling, projection and L2 norm in one graph.

    Activation maps of a convolutional network are pooled by generalised mean (Radenović, Tolias and Chum,
    "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019), which lets the strong responses of a small
    subject count for more than an average would, and with a weight that falls off from the centre of the region, where
    photographers put what matters. Other networks give their own pooled output.

    The projection needs no training data: the rows of the network's own classifier span the directions that tell
    classes apart, so their leading right singular vectors, with the strongest damped, keep what matters in few
    dimensions.

    Args:
        network: a timm model with its weights.
        mean: of RGB values in 0..1, three numbers.
        std: likewise.
        max_dimension: longest feature.
    """

    scale: torch.Tensor
    shift: torch.Tensor
    projection: torch.Tensor

    def __init__(self, network: Any, mean: Sequence[float], std: Sequence[float], max_dimension: int) -> None:
        super().__init__()
        self.network = network
        scale = 1.0 / (255.0 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self.register_buffer("scale", scale.float().view(1, 3, 1, 1))
        self.register_buffer("shift", shift.float().view(1, 3, 1, 1))
        self.register_buffer("projection", _projection(network, max_dimension))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """From uint8 of shape (n, size, size, 3) to float32 of shape (n, dimension), L2-normalised."""
        planes = pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift
        maps = self.network.forward_features(planes)
        if maps.dim() == 4 and maps.shape[1] == self.projection.shape[0]:
            weights = _centre_weights(maps.shape[2], maps.shape[3])
            powers = maps.clamp(min=GEM_FLOOR).pow(GEM_POWER)
            pooled = (powers * weights).sum(dim=(2, 3)).pow(1.0 / GEM_POWER)
        else:
            pooled = self.network.forward_head(maps, pre_logits=True)
        feature: torch.Tensor = nn.functional.normalize(pooled @ self.projection, dim=1)
        return feature


def _centre_weights(height: int, width: int) -> torch.Tensor:
    """Shape (height, width), sum 1."""
    down, right = (torch.linspace(-1, 1, side).square() for side in (height, width))
    weights = torch.exp(-(down[:, None] + right[None, :]) / (2 * CENTRE_WIDTH**2))
    return weights / weights.sum()


def _projection(network: Any, max_dimension: int) -> torch.Tensor:
    """Shape (channels, dimension)."""
    classifier = network.get_classifier()
    weight = getattr(classifier, "weight", None)
    channels = int(network.head_hidden_size if hasattr(network, "head_hidden_size") else network.num_features)
    if weight is None or weight.dim() != 2 or weight.shape[1] != channels:
        if channels <= max_dimension:
            return torch.eye(channels)
        generator = torch.Generator().manual_seed(PROJECTION_SEED)
        gaussian = torch.randn((channels, max_dimension), generator=generator, dtype=torch.float64)
        basis: torch.Tensor = torch.linalg.qr(gaussian).Q
        return basis.float()
    rows = weight.detach().double()
    rows = rows - rows.mean(dim=0, keepdim=True)
    _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
    dimension = min(max_dimension, int((values > values[0] * 1e-6).sum()))
    values, vectors = values[:dimension], vectors[:dimension]
    # The sign of a singular vector is arbitrary; features of two machines must not differ by it.
    strongest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    vectors = vectors * strongest.sign()
    projection: torch.Tensor = (vectors * (values / values[0]).pow(SINGULAR_VALUE_POWER).unsqueeze(1)).T
    return projection.float()
