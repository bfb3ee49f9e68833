"""What one network says of the category, as it is converted. Converting process only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

__all__ = ["CategoryEvidence", "log_priors"]


def log_priors(logits: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Logarithms of the chances that the network's own classes give to each category.

    Args:
        logits: shape (n, classes).
        groups: shape (categories, classes), 0 where a class speaks for the category, else -inf.

    Returns:
        Shape (n, categories).
    """
    chances = logits.log_softmax(dim=1)
    return torch.logsumexp(chances[:, None, :] + groups[None], dim=2)


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
        members = torch.from_numpy(parameters["groups"]).bool()
        groups = torch.zeros(members.shape)
        self.register_buffer("groups", groups.masked_fill(~members, -1e4))
        self.prior_weight = float(parameters["prior_weight"])

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """From shape (n, channels) to (n, categories)."""
        linear = nn.functional.normalize(pooled, dim=1) @ self.weights
        share: torch.Tensor = linear + self.prior_weight * log_priors(self.classifier(pooled), self.groups)
        return share
