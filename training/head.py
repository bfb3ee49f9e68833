"""Learn the projection of joined activations to the feature: python -m training head.

Linear discriminant analysis (Fisher, 1936) without labels: every picture is a class of its own, and changed views of it
are the members. Directions in which views of one thing differ are damped, those in which things differ are kept.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import torch

from imgsearch.algorithm.embedder import joined
from training.networks import Activations
from training.pictures import EvaluationData
from training.views import CROP, changed, cut, subjects

if TYPE_CHECKING:
    from PIL import Image

NETWORKS = {2: 260, 0: 224}
"""The networks of the default model, and the side that each is fed with."""
VIEWS = 6
DIMENSION = 256
SHRINKAGE = 1.0
"""Added to the variance within, in units of its mean: the views show only some of what differs in practice."""
SEED = 7


def train() -> dict[str, np.ndarray]:
    """The projection, float16 of shape (channels, DIMENSION), and the origin, float32 of shape (channels,)."""
    pictures = _pictures(EvaluationData())
    draw = random.Random(SEED)
    views, things = [], []
    for thing, (picture, region) in enumerate(zip(pictures, subjects(pictures), strict=True)):
        views += [cut(picture, region), *(changed(picture, region, draw) for _ in range(VIEWS))]
        things += [thing] * (VIEWS + 1)
    print(f"{len(pictures)} pictures, {len(views)} views")
    pixels = [np.asarray(view) for view in views]
    pooled = [
        torch.from_numpy(Activations(number, CROP, inner=size)(pixels)[0]).float() for number, size in NETWORKS.items()
    ]
    return discriminants(joined(pooled).double().numpy(), np.array(things))


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


def discriminants(vectors: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    """The leading discriminants of vectors, shape (n, channels), that belong to classes, shape (n,)."""
    origin = vectors.mean(axis=0)
    means = np.stack([vectors[classes == one].mean(axis=0) for one in range(classes.max() + 1)])
    differences = vectors - means[classes]
    within = differences.T @ differences / len(vectors)
    values, directions = np.linalg.eigh(within)
    whitening = directions * (values + SHRINKAGE * values.mean()) ** -0.5
    between = whitening.T @ np.cov((means - origin).T) @ whitening
    values, directions = np.linalg.eigh(between)
    order = np.argsort(-values)[:DIMENSION]
    projection = whitening @ directions[:, order]
    projection /= np.abs(projection).max()
    return {"projection": projection.astype(np.float16), "origin": origin.astype(np.float32)}
