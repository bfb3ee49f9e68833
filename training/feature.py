"""Learn what turns activations and colours into a feature: python -m training feature.

Nothing here knows a label. The trained part of the shape block takes every picture as a class of its own, with changed
views of it as the members. It begins with linear discriminant analysis (Fisher, 1936): directions in which views of one
thing differ are damped, those in which things differ are kept. From there a contrastive loss goes on, InfoNCE (van den
Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018) in both directions: among all
pictures, a view must find the other one of its own. The plain part and the colour block are principal components of
what the pictures show as they are.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from imgsearch.vision.colour import colour_histogram
from imgsearch.vision.embedder import joined
from imgsearch.vision.models import EMBEDDED_MODELS
from imgsearch.vision.trained_weights import COLOUR, SHAPE
from training.networks import Activations
from training.views import CROP, changed, cut, marked, piece, subjects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from imgsearch.values import Region
    from imgsearch.vision.saliency import Decoder

NETWORKS = {number: EMBEDDED_MODELS[f"efficientnet-lite{number}"].input_size for number in (2, 0)}
"""The networks of the default model, and the side that each is fed with."""
TRAINED_DIMENSION = PLAIN_DIMENSION = 256
SHAPE_DIMENSION, COLOUR_DIMENSION = 192, 64
SOFTENING = 0.25
"""Power of the singular values that the plain part is divided by: 0 would leave them as they are, 1 whiten them."""
CHANGED, PIECES, MARKED = 6, 3, 9
"""Views of each picture beside the one that a search sees."""
VIEWS = 1 + CHANGED + PIECES + MARKED
SHRINKAGE = 1.0
"""Added to the variance within, in units of its mean: the views show only some of what differs in practice."""
TEMPERATURE = 0.1
STEPS = 400
RATE = 0.05
"""Of the first step, in units of the projection's mean magnitude."""
SEED = 7
CHUNK = 64
"""Pictures whose views are held at a time."""


class Observed(NamedTuple):
    """What the networks and the histogram give of pictures."""

    vectors: torch.Tensor
    """Joined activations of views, the one that a search sees first; float16 of shape (pictures, VIEWS, channels)."""
    histograms: torch.Tensor
    """Of that first view, shape (pictures, bins)."""

    def take(self, chosen: np.ndarray) -> Observed:
        """Some of the pictures, by a boolean for each."""
        places = torch.from_numpy(np.flatnonzero(chosen))
        return Observed(self.vectors[places], self.histograms[places])


def observe(pictures: list[Image.Image], decoder: Decoder | None = None) -> Observed:
    """Look at pictures and at changed views of them.

    Args:
        pictures: to learn from.
        decoder: that finds their subjects; by default the package's.
    """
    regions = subjects(pictures, decoder)
    draw = random.Random(SEED)
    networks = {number: Activations(number, CROP, inner=size) for number, size in NETWORKS.items()}
    parts, histograms = [], []
    for first in range(0, len(pictures), CHUNK):
        some = zip(pictures[first : first + CHUNK], regions[first : first + CHUNK], strict=True)
        views = [np.asarray(view) for picture, region in some for view in _views(picture, region, draw)]
        pooled = [torch.from_numpy(network(views)[0]).float() for network in networks.values()]
        parts.append(joined(pooled).reshape(-1, VIEWS, sum(one.shape[1] for one in pooled)).half())
        seen = torch.from_numpy(np.stack(views[::VIEWS]))
        # As they are: components of histograms at normalised exposure are no better for these.
        histograms.append(colour_histogram(seen.permute(0, 3, 1, 2).float(), normalises_exposure=False))
    return Observed(torch.cat(parts), torch.cat(histograms))


def train(pictures: list[Image.Image], decoder: Decoder | None = None) -> dict[str, dict[str, np.ndarray]]:
    """Takes what ``observe`` does, gives what ``learn`` does."""
    return learn(observe(pictures, decoder))


def learn(observed: Observed) -> dict[str, dict[str, np.ndarray]]:
    """The parameters of the shape block and of the colour block, by the names of their files."""
    vectors = observed.vectors.float()
    print(f"{len(vectors)} pictures, {VIEWS} views of each")
    origin, projection = (
        torch.from_numpy(part).float() for part in discriminants(vectors[:, : 1 + CHANGED + PIECES].double().numpy())
    )
    trained = contrasted(vectors - origin, projection)
    return {
        SHAPE: shape_block(vectors[:, 0], origin, trained / trained.abs().max()),
        COLOUR: colour_block(observed.histograms),
    }


def _views(picture: Image.Image, region: Region, draw: random.Random) -> Iterator[Image.Image]:
    yield cut(picture, region)
    for _ in range(CHANGED):
        yield changed(picture, region, draw)
    for _ in range(PIECES):
        yield piece(picture, region, draw)
    for number in range(MARKED):
        yield marked(changed(picture, region, draw) if number % 3 else cut(picture, region), draw)


def discriminants(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The origin and the leading discriminants of views, shape (things, views, channels)."""
    origin = vectors.mean(axis=(0, 1))
    means = vectors.mean(axis=1)
    differences = (vectors - means[:, None]).reshape(-1, vectors.shape[2])
    within = differences.T @ differences / len(differences)
    values, directions = np.linalg.eigh(within)
    whitening = directions * (values + SHRINKAGE * values.mean()) ** -0.5
    between = whitening.T @ np.cov((means - origin).T) @ whitening
    values, directions = np.linalg.eigh(between)
    order = np.argsort(-values)[:TRAINED_DIMENSION]
    return origin, whitening @ directions[:, order]


def contrasted(vectors: torch.Tensor, projection: torch.Tensor) -> torch.Tensor:
    """The projection after some steps in which two random views of each thing must find each other.

    Args:
        vectors: shape (things, views, channels), the origin subtracted.
        projection: to begin with, shape (channels, dimension).
    """
    things, views, _ = vectors.shape
    weights = (projection / torch.linalg.svdvals(projection)[0]).requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=RATE * weights.detach().abs().mean().item())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(SEED)
    every = torch.arange(things)
    for _ in range(STEPS):
        chosen = [vectors[every, torch.randint(0, views, (things,), generator=generator)] for _ in range(2)]
        one, other = (functional.normalize(some @ weights, dim=1) for some in chosen)
        likeness = one @ other.T / TEMPERATURE
        loss = (functional.cross_entropy(likeness, every) + functional.cross_entropy(likeness.T, every)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"contrastive loss of the last step {loss.item():.3f}")
    return weights.detach()


def components(vectors: torch.Tensor, dimension: int, power: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean, and the leading principal directions, each divided by a power of its singular value.

    Args:
        vectors: shape (n, channels).
        dimension: how many directions.
        power: 0 leaves them as they are, 1 whitens.

    Returns:
        Shapes (channels,) and (channels, dimension).
    """
    origin = vectors.double().mean(dim=0)
    _, values, directions = torch.linalg.svd(vectors.double() - origin, full_matrices=False)
    return origin.float(), (directions[:dimension].T / values[:dimension].pow(power)).float()


def shape_block(vectors: torch.Tensor, origin: torch.Tensor, trained: torch.Tensor) -> dict[str, np.ndarray]:
    """The parameters of ``TrainedShape``.

    Args:
        vectors: activations of pictures as a search sees them, shape (n, channels).
        origin: of the trained part, shape (channels,).
        trained: its projection, shape (channels, dimension).
    """
    plain_origin, plain = components(functional.normalize(vectors, dim=1), PLAIN_DIMENSION, SOFTENING)
    parts = [
        functional.normalize((vectors - origin) @ trained, dim=1),
        functional.normalize((functional.normalize(vectors, dim=1) - plain_origin) @ plain, dim=1),
    ]
    both = functional.normalize(torch.cat(parts, dim=1), dim=1)
    # Not centred: what all features have in common stays in them.
    reduction = torch.linalg.svd(both.double(), full_matrices=False).Vh[:SHAPE_DIMENSION].T
    trained_numbers, trained_scale = _in_bytes(trained.numpy())
    plain_numbers, plain_scale = _in_bytes(plain.numpy())
    return {
        "trained_origin": origin.numpy(),
        "trained_projection": trained_numbers,
        "trained_scale": trained_scale,
        "plain_origin": plain_origin.numpy(),
        "plain_projection": plain_numbers,
        "plain_scale": plain_scale,
        "reduction": reduction.numpy().astype(np.float16),
    }


def _in_bytes(projection: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A projection in whole numbers of one byte, and what to multiply each column by."""
    scale = np.abs(projection).max(axis=0) / 127
    return np.round(projection / scale).astype(np.int8), scale.astype(np.float32)


def colour_block(histograms: torch.Tensor) -> dict[str, np.ndarray]:
    """The parameters of ``ColourBlock``.

    Args:
        histograms: shape (n, bins).
    """
    origin, projection = components(histograms, COLOUR_DIMENSION, 1.0)
    return {"origin": origin.numpy(), "projection": projection.numpy()}
