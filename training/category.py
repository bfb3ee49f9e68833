"""Train the category predictor: python -m training category.

A softmax regression over normalised activations of three networks and the subject's outline, on top of a prior: the
chances that the networks' own ImageNet classifiers give to the classes grouped in ``imagenet.csv``. The prior lets
categories of which there are few pictures profit from the 1.2 million of ImageNet.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from benchmarks.setting import ROOT
from imgsearch.service.categories import CATEGORIES
from imgsearch.values import Region
from imgsearch.vision.category import outline
from imgsearch.vision.category_head import log_priors
from imgsearch.vision.models import CATEGORY_SIDES
from imgsearch.vision.subject_boxes import find_subjects
from training.composites import SIDE
from training.networks import Activations, pretrained
from training.pictures import EvaluationData, Row
from training.views import CROP, cut, heat_maps

if TYPE_CHECKING:
    from imgsearch.vision.saliency import Decoder

IDS = sorted(CATEGORIES)
NETWORKS = {"lite2": 1.0, "lite1": 0.7, "whole": 0.7}
"""What the activations of each network weigh; ``whole`` is Lite0 over the whole picture, which finds the subject."""
NUMBERS = {"lite2": 2, "lite1": 1, "whole": 0}
OUTLINE_WEIGHT = 0.2
PRIOR = 0.8
"""Weight of the prior. A learned one becomes 1.4: it serves the pictures of the training, and others less."""
DECAY = 0.03
BALANCE = 0.8
"""Pictures of a category weigh its count to the power of minus this: 0 as they are, 1 all categories alike."""
UNSEEN = 0.995
"""A category without pictures wins over at most the rest of the training pictures."""
WIDER = 0.2
"""Margin of the wide view on each side, as a share of the region's own."""
FOLDS = 10
SEEDS = 3


EVERY = 3
"""Of the further photos, each that many."""
CLOTHES = {
    "dress": 1,
    "hat": 5,
    "longsleeve": 0,
    "outwear": 0,
    "pants": 2,
    "shirt": 0,
    "shoes": 4,
    "shorts": 2,
    "skirt": 2,
    "t-shirt": 0,
}
"""The classes of the photos of clothing, as categories."""


@dataclass
class Examples:
    """Activations and labels of some views of pictures; arrays have a row per view."""

    pooled: dict[str, np.ndarray]
    outlines: np.ndarray
    priors: np.ndarray
    labels: np.ndarray
    products: np.ndarray
    sources: np.ndarray

    def subset(self, chosen: np.ndarray) -> Examples:
        pooled = {name: rows[chosen] for name, rows in self.pooled.items()}
        rest = (self.outlines, self.priors, self.labels, self.products, self.sources)
        return Examples(pooled, *(rows[chosen] for rows in rest))


def joined(*parts: Examples) -> Examples:
    return Examples(
        {name: np.concatenate([part.pooled[name] for part in parts]) for name in NETWORKS},
        np.concatenate([part.outlines for part in parts]),
        np.concatenate([part.priors for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.products for part in parts]),
        np.concatenate([part.sources for part in parts]),
    )


def groups() -> np.ndarray:
    """Shape (categories, 1000): which ImageNet classes speak for a category; all others for Other."""
    members = np.zeros((len(IDS), 1000), bool)
    with (Path(__file__).parent / "imagenet.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            members[IDS.index(int(row["category"])), [int(one) for one in row["classes"].split()]] = True
    members[-1] = ~members.any(axis=0)
    return members


def train(data: EvaluationData, decoder: Decoder | None = None) -> dict[str, np.ndarray]:
    """Cross-validate, then fit everything; the parameters.

    Args:
        data: to learn from.
        decoder: that finds subjects; by default the package's.
    """
    labelled, others, held = examples(data, decoder)
    subject_views = np.arange(len(data.labels))
    for seed in range(SEEDS):
        _report(data.labels, _cross_validated(labelled, others, subject_views, seed), f"seed {seed}")
    _report_sources(data.labels, _left_out(labelled, others, subject_views))
    parameters = fit(joined(labelled, others))
    scores = score(parameters, held)
    print(f"queries of the retrieval part, not learned from: {np.mean(scores.argmax(axis=1) == held.labels):.3f}")
    return parameters


def examples(data: EvaluationData, decoder: Decoder | None = None) -> tuple[Examples, Examples, Examples]:
    """The labelled pictures, all others to learn from, and the queries; the first view of each comes first."""
    every = ("subject", "mirrored", "wide", "whole")
    labelled = _views(decoder, data, "categories", data.labels, "label", every)
    gallery = _views(decoder, data, "retrieval", data.gallery, "category", ("subject",))
    own = EvaluationData(ROOT)
    rendered = [row for row in own.rows("sample_data/groundtruth.csv") if row["split"] == "gallery"]
    renders = _views(decoder, own, "sample_data", rendered, "category", every)
    more = _further(data)
    others = joined(gallery, renders, _views(decoder, data, "more", more, "category", ("subject",)))
    queries = [row for row in data.retrieval if row["split"] == "query"]
    print(
        f"{len(data.labels)} labelled pictures, {len(data.gallery)} of the gallery, {len(rendered)} rendered ones, "
        f"{len(more)} further photos"
    )
    return labelled, others, _views(decoder, data, "retrieval", queries, "category", ("subject",))


def _further(data: EvaluationData) -> list[Row]:
    """Photos of clothing, each a product of its own, and of the groceries of the retrieval part, with categories."""
    groceries = {row["product_id"]: row["category"] for row in data.retrieval}
    return [
        {**row, "product_id": row["file"], "category": str(CLOTHES[row["class"]])}
        if row["class"] in CLOTHES
        else {**row, "product_id": f"grocery-{row['class']}", "category": groceries[f"grocery-{row['class']}"]}
        for row in data.more[::EVERY]
    ]


def _product(data: EvaluationData, part: str, row: Row) -> str:
    """What must not be on both sides of a split: the product, by its name or by a file that both parts use."""
    if "product_id" in row:
        return row["product_id"].lower()
    known = {data.origin("retrieval", other): other["product_id"] for other in data.retrieval}
    name = Path(row["file"]).stem
    style = re.match(r"magento_([a-z]+\d+)", name)
    return (known.get(data.origin(part, row)) or (f"magento-{style[1]}" if style else name)).lower()


def _views(
    decoder: Decoder | None, data: EvaluationData, part: str, rows: list[Row], label: str, kinds: tuple[str, ...]
) -> Examples:
    pictures = [data.picture(part, row) for row in rows]
    heats = heat_maps(pictures, decoder)
    regions = [find_subjects(heat, *picture.size)[0] for heat, picture in zip(heats, pictures, strict=True)]
    found = [_view(kind, *one) for kind in kinds for one in zip(pictures, heats, regions, strict=True)]
    crops = [np.asarray(crop) for crop, _, _ in found]
    wholes = [np.asarray(whole) for _, whole, _ in found]
    pooled = {name: Activations(NUMBERS[name], CROP, inner=side)(crops)[1] for name, side in CATEGORY_SIDES.items()}
    pooled["whole"] = Activations(0, SIDE)(wholes)[1]
    labels = np.array([IDS.index(int(row[label])) for row in rows])
    products = np.array([_product(data, part, row) for row in rows])
    outlines = np.stack([silhouette for _, _, silhouette in found])
    # The two sets of clothing are of one project.
    sources = np.array([row["source"].removesuffix("-small") for row in rows])
    tiled = (np.tile(column, len(kinds)) for column in (labels, products, sources))
    return Examples(pooled, outlines, _priors(pooled), *tiled)


def _view(
    kind: str, picture: Image.Image, heat: np.ndarray, region: Region
) -> tuple[Image.Image, Image.Image, np.ndarray]:
    """The crop, the whole picture and the outline in one of the ways that a picture is looked at."""
    whole = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2)
    silhouette = outline(heat, region, *picture.size)
    if kind == "mirrored":
        crop, whole = (one.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for one in (cut(picture, region), whole))
        side = round(len(silhouette) ** 0.5)
        return crop, whole, silhouette.reshape(side, side)[:, ::-1].reshape(-1)
    if kind == "wide":
        across, down = round(WIDER * (region.x2 - region.x1)), round(WIDER * (region.y2 - region.y1))
        wide = Region(
            max(0, region.x1 - across),
            min(picture.width, region.x2 + across),
            max(0, region.y1 - down),
            min(picture.height, region.y2 + down),
        )
        return cut(picture, wide), whole, silhouette
    if kind == "whole":
        everything = Region(0, picture.width, 0, picture.height)
        return cut(picture, everything, context=False), whole, silhouette
    return cut(picture, region), whole, silhouette


def _inputs(examples: Examples) -> np.ndarray:
    parts = []
    for name, weight in NETWORKS.items():
        vectors = examples.pooled[name].astype(np.float32)
        parts.append(weight * vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return np.hstack([*parts, OUTLINE_WEIGHT * (examples.outlines - 0.5)])


def _priors(pooled: dict[str, np.ndarray]) -> np.ndarray:
    """The mean over the networks of the logarithms of the prior chances; shape (n, categories)."""
    members = torch.from_numpy(groups())
    total = 0.0
    for name, number in NUMBERS.items():
        classifier = pretrained(number).get_classifier()
        with torch.no_grad():
            total = total + log_priors(classifier(torch.from_numpy(pooled[name].astype(np.float32))), members)
    return (total / len(NUMBERS)).numpy()


def fit(examples: Examples) -> dict[str, np.ndarray]:
    """The parameters as the package uses them."""
    inputs = _inputs(examples)
    mean, scale = inputs.mean(axis=0), float(inputs.std())
    seen = np.unique(examples.labels)
    counts = np.bincount(examples.labels, minlength=len(IDS))
    share = torch.from_numpy((1.0 / np.maximum(counts, 1))[examples.labels] ** BALANCE).float()
    x, p = torch.from_numpy((inputs - mean) / scale).float(), torch.from_numpy(examples.priors[:, seen]).float()
    y = torch.from_numpy(np.searchsorted(seen, examples.labels))
    weights = torch.zeros((x.shape[1], len(seen)), requires_grad=True)
    bias = torch.zeros(len(seen), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=200, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        losses = torch.nn.functional.cross_entropy(x @ weights + bias + PRIOR * p, y, reduction="none")
        loss = (losses * share).sum() / share.sum() + DECAY * weights.square().sum() + 1e-3 * bias.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    trained = np.zeros((x.shape[1], len(IDS)), np.float32)
    trained[:, seen] = weights.detach().numpy() / scale
    offsets = np.zeros(len(IDS), np.float32)
    offsets[seen] = bias.detach().numpy() - mean @ trained[:, seen]
    return _packed(trained, offsets, inputs, examples.priors, seen)


def _packed(
    trained: np.ndarray, offsets: np.ndarray, inputs: np.ndarray, prior: np.ndarray, seen: np.ndarray
) -> dict[str, np.ndarray]:
    scores = inputs @ trained + PRIOR * prior + offsets
    best = scores[:, seen].max(axis=1)
    for unseen in set(range(len(IDS))) - set(seen.tolist()):
        offsets[unseen] = -np.quantile(PRIOR * prior[:, unseen] - best, UNSEEN)
    parameters = {"ids": np.array(IDS), "groups": groups(), "prior_weight": np.float32(PRIOR / len(NUMBERS))}
    first = 0
    for name, weight in NETWORKS.items():
        rows = trained[first : first + 1280]
        parameters[f"weights_{name}"] = (weight * rows).astype(np.float16)
        first += 1280
    parameters["outline"] = (OUTLINE_WEIGHT * trained[first:]).astype(np.float32)
    parameters["bias"] = (offsets - 0.5 * OUTLINE_WEIGHT * trained[first:].sum(axis=0)).astype(np.float32)
    return parameters


def score(parameters: dict[str, np.ndarray], examples: Examples) -> np.ndarray:
    """What the package computes, here for many; shape (n, categories)."""
    total = len(NUMBERS) * parameters["prior_weight"] * examples.priors + parameters["bias"]
    for name in NETWORKS:
        vectors = examples.pooled[name].astype(np.float32)
        total = total + vectors / np.linalg.norm(vectors, axis=1, keepdims=True) @ parameters[f"weights_{name}"]
    return total + examples.outlines @ parameters["outline"]


def _cross_validated(labelled: Examples, gallery: Examples, subject_views: np.ndarray, seed: int) -> np.ndarray:
    """Scores of the labelled pictures by predictors that saw no picture of the same product."""
    products = np.unique(labelled.products)
    folds = np.random.default_rng(seed).permutation(len(products)) % FOLDS
    fold = folds[np.searchsorted(products, labelled.products)]
    scores = np.zeros((len(subject_views), len(IDS)))
    for number in range(FOLDS):
        held = set(products[folds == number])
        others = gallery.subset(np.array([product not in held for product in gallery.products]))
        parameters = fit(joined(labelled.subset(fold != number), others))
        tested = subject_views[fold[subject_views] == number]
        scores[tested] = score(parameters, labelled.subset(tested))
    return scores


def _left_out(labelled: Examples, others: Examples, subject_views: np.ndarray) -> np.ndarray:
    """Scores of the labelled pictures by predictors that saw no picture of the same source.

    The networks' subjects are those of one decoder; only the predictor leaves the source out.
    """
    scores = np.zeros((len(subject_views), len(IDS)))
    for source in np.unique(labelled.sources):
        tested = subject_views[labelled.sources[subject_views] == source]
        scores[tested] = score(without(source, labelled, others), labelled.subset(tested))
    return scores


def without(source: str, *parts: Examples) -> dict[str, np.ndarray]:
    """The parameters that no picture of a source shaped."""
    return fit(joined(*(part.subset(part.sources != source) for part in parts)))


def _report_sources(rows: list[Row], scores: np.ndarray) -> None:
    _report(rows, scores, "sources left out")
    predicted = np.array(IDS)[scores.argmax(axis=1)]
    right = np.array(
        [str(one) in f"{row['label']} {row['accept']}".split() for row, one in zip(rows, predicted, strict=True)]
    )
    for column in ("source", "label"):
        values = np.array([row[column] for row in rows])
        for value in sorted(set(values)):
            print(f"  {column} {value}: {right[values == value].sum()} of {(values == value).sum()}")


def _report(rows: list[Row], scores: np.ndarray, name: str) -> None:
    predicted = np.array(IDS)[scores.argmax(axis=1)]
    labels = np.array([int(row["label"]) for row in rows])
    accepted = [{int(one) for one in f"{row['label']} {row['accept']}".split()} for row in rows]
    strict = predicted == labels
    lenient = np.array([one in some for one, some in zip(predicted, accepted, strict=True)])
    common = [one for one in np.unique(labels) if (labels == one).sum() >= 10]
    macro = [np.mean([hits[labels == one].mean() for one in common]) for hits in (strict, lenient)]
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    print(
        f"{name}: strict {strict.mean():.3f}, lenient {lenient.mean():.3f}, macro {macro[0]:.3f}, {macro[1]:.3f}; "
        f"mean chance of the best {chances.max(axis=1).mean():.3f}"
    )
    order = np.argsort(-chances, axis=1)
    sums = np.take_along_axis(chances, order, axis=1).cumsum(axis=1)
    for enough in (0.5, 0.8, 0.9, 0.95, 0.98):
        used = (sums < enough).sum(axis=1) + 1
        found = [bool(some & {IDS[k] for k in row[:n]}) for some, row, n in zip(accepted, order, used, strict=True)]
        print(f"  up to {enough}: {used.mean():.2f} categories, right one among them {np.mean(found):.3f}")
