"""What one network says of the category, as it is converted. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from imgsearch.vision.network_constants import NEVER
from imgsearch.vision.tensor_ops import centred, resized, unrounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["CategoryEvidence", "CategoryNetworks", "log_priors"]


def log_priors(logits: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Logarithms of the chances that the network's own classes give to each category.

    Args:
        logits: shape (n, classes).
        groups: boolean of shape (categories, classes), whether a class speaks for a category.

    Returns:
        Shape (n, categories).
    """
    chances = logits.log_softmax(dim=1)
    speaking = torch.zeros(groups.shape, device=groups.device).masked_fill(~groups, NEVER)
    return torch.logsumexp(chances[:, None, :] + speaking[None], dim=2)


class CategoryEvidence(nn.Module):
    """From average-pooled activations to a share of each category's score.

    Two parts: a trained linear layer over the normalised activations, and the network's own classifier, whose
    ImageNet classes are grouped into the categories: a prior that knows far more kinds of things than the training
    pictures show. The shares of all networks add up, with the outline's and a bias, to the scores of a softmax.

    Args:
        network: a timm model with its ImageNet classifier.
        name: which of the trained layers is this network's.
        parameters: of the category predictor.
    """

    weights: torch.Tensor
    groups: torch.Tensor

    def __init__(self, network: Any, name: str, parameters: Mapping[str, npt.NDArray[np.generic]]) -> None:
        super().__init__()
        self.classifier = network.get_classifier()
        self.register_buffer("weights", torch.from_numpy(parameters[f"weights_{name}"]).float())
        self.register_buffer("groups", torch.from_numpy(parameters["groups"]).bool())
        self.prior_weight = float(parameters["prior_weight"])

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """From shape (n, channels) to (n, categories)."""
        with unrounded(pooled):
            linear = nn.functional.normalize(pooled, dim=1) @ self.weights
            share: torch.Tensor = linear + self.prior_weight * log_priors(self.classifier(pooled), self.groups)
        return share


class CategoryNetworks(nn.Module):
    """Further networks that only read the category.

    Args:
        networks: timm models with mean and standard deviation 0.5.
        sizes: side that each is fed with, in pixels; None: as the pixels come.
        evidence: what reads the category off each.
    """

    def __init__(
        self, networks: Sequence[Any], sizes: Sequence[int | None], evidence: Sequence[CategoryEvidence]
    ) -> None:
        super().__init__()
        self.networks: Any = nn.ModuleList(networks)
        self.sizes = sizes
        self.evidence: Any = nn.ModuleList(evidence)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """From uint8 of shape (n, size, size, 3) to evidence of shape (n, categories)."""
        planes = centred(pixels)
        shares = [
            evidence(network.forward_features(resized(planes, size)).float().mean(dim=(2, 3)))
            for network, size, evidence in zip(self.networks, self.sizes, self.evidence, strict=True)
        ]
        return torch.stack(shares).sum(dim=0)
