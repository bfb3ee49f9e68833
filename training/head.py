"""Learn the projection of joined activations to the feature: python -m training head.

Without labels: every picture is a class of its own, and changed views of it are the members. It begins with linear
discriminant analysis (Fisher, 1936): directions in which views of one thing differ are damped, those in which things
differ are kept. From there a contrastive loss goes on, InfoNCE (van den Oord, Li and Vinyals, "Representation Learning
with Contrastive Predictive Coding", 2018) in both directions: among all pictures, a view must find the other one of its
own.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from imgsearch.algorithm.assembly import MAX_FEATURE_DIMENSION
from imgsearch.algorithm.embedder import joined
from imgsearch.algorithm.models import EMBEDDED_MODELS
from training.networks import Activations
from training.pictures import EvaluationData
from training.views import CROP, changed, cut, marked, piece, subjects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from imgsearch.records import Region

NETWORKS = {number: EMBEDDED_MODELS[f"efficientnet-lite{number}"].input_size for number in (2, 0)}
"""The networks of the default model, and the side that each is fed with."""
CHANGED, PIECES, MARKED = 6, 3, 9
"""Views of each picture beside the one that a search sees."""
SHRINKAGE = 1.0
"""Added to the variance within, in units of its mean: the views show only some of what differs in practice."""
TEMPERATURE = 0.1
STEPS = 400
RATE = 0.05
"""Of the first step, in units of the projection's mean magnitude."""
SEED = 7
CHUNK = 64
"""Pictures whose views are held at a time."""


def train() -> dict[str, np.ndarray]:
    """The projection, float16 of shape (channels, dimension), and the origin, float32 of shape (channels,)."""
    pictures = _pictures(EvaluationData())
    regions = subjects(pictures)
    draw = random.Random(SEED)
    networks = {number: Activations(number, CROP, inner=size) for number, size in NETWORKS.items()}
    parts = []
    for first in range(0, len(pictures), CHUNK):
        some = zip(pictures[first : first + CHUNK], regions[first : first + CHUNK], strict=True)
        views = [np.asarray(view) for picture, region in some for view in _views(picture, region, draw)]
        pooled = [torch.from_numpy(network(views)[0]).float() for network in networks.values()]
        parts.append(joined(pooled).reshape(-1, 1 + CHANGED + PIECES + MARKED, sum(one.shape[1] for one in pooled)))
    vectors = torch.cat(parts)
    print(f"{len(vectors)} pictures, {vectors.shape[1]} views of each")
    origin, projection = discriminants(vectors[:, : 1 + CHANGED + PIECES].double().numpy())
    projection = contrasted(vectors - torch.from_numpy(origin).float(), torch.from_numpy(projection).float()).numpy()
    projection /= np.abs(projection).max()
    return {"projection": projection.astype(np.float16), "origin": origin.astype(np.float32)}


def _views(picture: Image.Image, region: Region, draw: random.Random) -> Iterator[Image.Image]:
    yield cut(picture, region)
    for _ in range(CHANGED):
        yield changed(picture, region, draw)
    for _ in range(PIECES):
        yield piece(picture, region, draw)
    for number in range(MARKED):
        yield marked(changed(picture, region, draw) if number % 3 else cut(picture, region), draw)


def _pictures(data: EvaluationData) -> list[Image.Image]:
    """The gallery, and pictures of the other two parts that retrieval does not use; no query, and no labels."""
    retrieval = {data.origin("retrieval", row) for row in data.retrieval}
    others = {
        data.origin(part, row): data.picture(part, row)
        for part, rows in (("categories", data.labels), ("subjects", data.boxes))
        for row in rows
        if data.origin(part, row) not in retrieval
    }
    return [*others.values(), *(data.picture("retrieval", row) for row in data.gallery)]


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
    order = np.argsort(-values)[:MAX_FEATURE_DIMENSION]
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
