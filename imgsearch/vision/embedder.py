"""The networks as they are converted: pixels in, one short feature out. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from imgsearch.errors import InvalidModel
from imgsearch.vision.network_constants import (
    CENTRE_WIDTH,
    COLOUR_SHARE,
    GEM_FLOOR,
    GEM_POWER,
    JOINED_WEIGHT,
    classifier_projection,
)
from imgsearch.vision.tensor_ops import resized, unrounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from imgsearch.vision.category_head import CategoryEvidence

__all__ = [
    "Embedder",
    "ProjectedShape",
    "TrainedShape",
    "UnprojectedShape",
    "joined",
    "pooled_for_search",
    "pools_by_itself",
    "projected_as_in_version_2",
    "shape_of",
]

PROJECTION_SEED: Final = 256
"""Of the random projection that networks without a classifier had in version 2."""


def pooled_for_search(maps: torch.Tensor) -> torch.Tensor:
    """Activation maps to one vector, shape (n, channels, rows, columns) to (n, channels).

    They are pooled by generalised mean (Radenović, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human
    Annotation", TPAMI 2019), which lets the strong responses of a small subject count for more than an average would,
    and with a weight that falls off from the centre of the region, where the subject is.
    """
    down, right = (torch.linspace(-1, 1, side, device=maps.device).square() for side in maps.shape[2:])
    weights = torch.exp(-(down[:, None] + right[None, :]) / (2 * CENTRE_WIDTH**2))
    powers = maps.clamp(min=GEM_FLOOR).pow(GEM_POWER)
    return (powers * (weights / weights.sum())).sum(dim=(2, 3)).pow(1.0 / GEM_POWER)


def joined(pooled: Sequence[torch.Tensor]) -> torch.Tensor:
    """The pooled activations of several networks side by side, the first one's with the greatest weight."""
    parts = [nn.functional.normalize(vectors, dim=1) for vectors in pooled]
    return torch.cat([parts[0], *(JOINED_WEIGHT * part for part in parts[1:])], dim=1)


class ProjectedShape(nn.Module):
    """From activations to a shape block by one projection.

    Args:
        projection: shape (channels, dimension).
        origin: what is subtracted before, shape (channels,); None: nothing.
    """

    projection: torch.Tensor
    origin: torch.Tensor

    def __init__(self, projection: torch.Tensor, origin: torch.Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("projection", projection.float())
        self.register_buffer("origin", torch.zeros(len(projection)) if origin is None else origin.float())

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """From shape (n, channels) to (n, dimension), L2-normalised."""
        return nn.functional.normalize((vectors - self.origin) @ self.projection, dim=1)

    @classmethod
    def of(cls, parameters: Mapping[str, npt.NDArray[np.generic]], prefix: str = "") -> ProjectedShape:
        """From the trained parameters ``projection`` and ``origin`` behind the prefix.

        A projection in whole numbers has a ``scale`` beside it: what each column is to be multiplied by.
        """
        projection, origin = (torch.from_numpy(parameters[f"{prefix}{name}"]) for name in ("projection", "origin"))
        scale = parameters.get(f"{prefix}scale")
        return cls(projection if scale is None else projection * torch.from_numpy(scale), origin)


class UnprojectedShape(nn.Module):
    """From activations to a shape block of all of their dimensions."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """From shape (n, channels) to the same, L2-normalised."""
        return nn.functional.normalize(vectors, dim=1)


class TrainedShape(nn.Module):
    """From joined activations to the shape block of the default model.

    What a contrastive loss has learned stands beside the activations' own principal components, softened by the fourth
    root of their singular values; both together are reduced. The trained part withstands what it was trained for,
    watermarks and other views; the other one has learned nothing that fits some sources better than others.

    Args:
        parameters: of ``training/feature.py``.
    """

    reduction: torch.Tensor

    def __init__(self, parameters: Mapping[str, npt.NDArray[np.generic]]) -> None:
        super().__init__()
        self.trained = ProjectedShape.of(parameters, "trained_")
        self.plain = ProjectedShape.of(parameters, "plain_")
        self.register_buffer("reduction", torch.from_numpy(parameters["reduction"]).float())

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """From shape (n, channels) to (n, dimension), L2-normalised."""
        plain = self.plain(nn.functional.normalize(vectors, dim=1))
        both = nn.functional.normalize(torch.cat([self.trained(vectors), plain], dim=1), dim=1)
        return nn.functional.normalize(both @ self.reduction, dim=1)


class Embedder(nn.Module):
    """Normalisation, networks, pooling, shape block, colour block and L2 norm in one graph.

    Args:
        networks: timm models with their weights; the activations of several are joined.
        sizes: side that each is fed with, in pixels; the first one is that of the input.
        mean: of RGB values in 0..1, three numbers.
        std: likewise.
        shape: from the activations of all networks, shape (n, channels), to the shape block.
        colour: from pixels to the colour block; None: the feature is the shape block alone.
        evidence: for each network, what reads the category off it; None: nothing does.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self,
        networks: Sequence[Any],
        sizes: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        shape: nn.Module,
        colour: nn.Module | None,
        evidence: Sequence[CategoryEvidence | None],
    ) -> None:
        super().__init__()
        self.networks: Any = nn.ModuleList(networks)
        self.sizes = [None if size == sizes[0] else size for size in sizes]
        self.evidence = evidence
        self.evidence_parts = nn.ModuleList(part for part in evidence if part is not None)
        scale = 1.0 / (255.0 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self.register_buffer("scale", scale.float().view(1, 3, 1, 1))
        self.register_buffer("shift", shift.float().view(1, 3, 1, 1))
        self.shape = shape
        self.colour = colour

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """From uint8 of shape (n, size, size, 3) to the feature and, where there is one, the category evidence.

        The feature is float32 of shape (n, dimension), L2-normalised; the evidence of shape (n, categories).
        """
        colours = pixels.permute(0, 3, 1, 2).float()
        planes = colours * self.scale + self.shift
        pooled, shares = [], []
        for network, size, evidence in zip(self.networks, self.sizes, self.evidence, strict=True):
            maps = network.forward_features(resized(planes, size)).float()
            with unrounded(maps):
                if pools_by_itself(network, maps):
                    pooled.append(network.forward_head(maps, pre_logits=True))
                else:
                    pooled.append(pooled_for_search(maps))
                if evidence is not None:
                    shares.append(evidence(maps.mean(dim=(2, 3))))
        vectors = pooled[0] if len(pooled) == 1 else joined(pooled)
        with unrounded(vectors):
            feature: torch.Tensor = self.shape(vectors)
            if self.colour is not None:
                blocks = torch.cat([feature, COLOUR_SHARE * self.colour(colours)], dim=1)
                feature = nn.functional.normalize(blocks, dim=1)
        return (feature, torch.stack(shares).sum(dim=0)) if shares else (feature,)


def pools_by_itself(network: Any, maps: torch.Tensor) -> bool:
    """Whether a network's own head makes one vector of its activations: a class token's, by attention, or with layers.

    Args:
        network: a timm model.
        maps: what its ``forward_features`` gives.
    """
    is_convolutional = maps.dim() == 4 and maps.shape[1] == network.num_features
    return not is_convolutional or _channels(network) != network.num_features


def _channels(network: Any) -> int:
    """Length of the vector that the classifier sees."""
    return int(getattr(network, "head_hidden_size", network.num_features))


def _classifier(network: Any) -> torch.Tensor | None:
    """The weights of the network's own classifier, shape (classes, channels), if it has one."""
    weight: torch.Tensor | None = getattr(network.get_classifier(), "weight", None)
    if weight is None or weight.dim() != 2 or weight.shape[1] != _channels(network):
        return None
    return weight.detach()


def projected_by_classifier(network: Any, max_dimension: int) -> nn.Module | None:
    """The shape block of a network that has a classifier; None: it has none.

    Args:
        network: a timm model.
        max_dimension: longest block.
    """
    weight = _classifier(network)
    return (
        None
        if weight is None
        else ProjectedShape(torch.from_numpy(classifier_projection(weight.numpy(), max_dimension)))
    )


def projected_as_in_version_2(network: Any, max_dimension: int) -> nn.Module:
    """The feature of version 2 of any network: without a classifier and with too many channels, a random projection.

    Instances that were made so go on with it.

    Args:
        network: a timm model.
        max_dimension: longest feature.
    """
    shape = projected_by_classifier(network, max_dimension)
    if shape is not None:
        return shape
    channels = _channels(network)
    if channels <= max_dimension:
        return ProjectedShape(torch.eye(channels))
    generator = torch.Generator().manual_seed(PROJECTION_SEED)
    gaussian = torch.randn((channels, max_dimension), generator=generator, dtype=torch.float64)
    return ProjectedShape(torch.linalg.qr(gaussian).Q)


def shape_of(network: Any, max_projected: int, max_whole: int) -> nn.Module:
    """The shape block of a network that has no trained projection.

    A classifier tells which directions matter. Without one, none is better than another, so all are kept.

    Args:
        network: a timm model.
        max_projected: longest block that a projection gives.
        max_whole: longest block without one.

    Raises:
        InvalidModel: it has no classifier and too many channels.
    """
    shape = projected_by_classifier(network, max_projected)
    if shape is None and (channels := _channels(network)) > max_whole:
        raise InvalidModel(
            f"the model gives {channels} numbers and has no classifier that tells which of them matter: at most "
            f"{max_whole} are kept, so name a smaller model of its kind"
        )
    return shape or UnprojectedShape()
