"""Fit the curve of Score: python -m training score.

Score must mean the same for a stranger's catalogue. So each source of the evaluation data is searched with parameters
that learned nothing from it, and the curve is fitted to all these results together. The curve of a folder that leaves a
source out is fitted to the other sources, so its calibration error on that source is one that carries over.

A few queries have no right picture in their catalogue: each query counts a second time, with little weight, as if its
product were not there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from imgsearch import AddPicture, FilePicture, Instance, Key, Kind, SearchOptions
from imgsearch.search.score import RIVAL_CEILING, RIVAL_FLOOR
from imgsearch.vision.models import DEFAULT_MODEL
from imgsearch.vision.trained_weights import PARAMETERS_VARIABLE, SCORE
from training.pictures import EvaluationData

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imgsearch.storage.engine import Hit

RESULTS = 10
"""Of a query, the best ones: those that people look at."""
ABSENT_WEIGHT = 0.05
"""Of a query whose product is not in the catalogue, beside 1 for one whose product is."""
RIDGE = 1e-3
STEPS = 60
BARE_CURVE = (1.0, 0.0, 0.0, 0.0)
"""With which the odds' logarithm of a Score is the inverse hyperbolic tangent of the similarity."""


class Results(NamedTuple):
    """The best results of some queries."""

    inputs: np.ndarray
    """What the odds' logarithm is linear in: of the similarity, 1, and of the two best products; shape (n, 4)."""
    right: np.ndarray
    """Whether a result shows the query's product, shape (n,)."""
    weights: np.ndarray
    """Shape (n,)."""

    @classmethod
    def joined(cls, parts: Sequence[Results]) -> Results:
        """Those of several parts."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def fitted(results: Results) -> np.ndarray:
    """Slope, offset and the weights of the two best products, by logistic regression (Newton's method)."""
    curve = np.zeros(results.inputs.shape[1])
    for _ in range(STEPS):
        chances = 1 / (1 + np.exp(-np.clip(results.inputs @ curve, -40, 40)))
        gradient = results.inputs.T @ (results.weights * (chances - results.right)) + RIDGE * curve
        spread = results.weights * chances * (1 - chances)
        hessian = (results.inputs * spread[:, None]).T @ results.inputs + RIDGE * np.eye(len(curve))
        curve -= np.linalg.solve(hessian, gradient)
    return curve


def measured(source: str | None, model: str) -> Results:
    """The results of the queries of one source (None: of all), in a catalogue of all sources without categories."""
    data = EvaluationData()
    folder = data.folder / "retrieval"
    parts = []
    with tempfile.TemporaryDirectory() as temporary:
        Instance.create(Path(temporary) / "instance", Kind.GENERIC, model=model)
        with Instance.open(Path(temporary) / "instance") as instance:
            gallery = [(folder / row["file"], Key(row["product_id"], row["file"])) for row in data.gallery]
            list(instance.apply(AddPicture(str(path), key, FilePicture(path)) for path, key in gallery))
            with instance.searching() as searcher:
                for row in data.retrieval:
                    if row["split"] == "query" and source in (None, row["source"]):
                        picture = FilePicture(folder / row["file"])
                        found = searcher.by_picture(picture, search=SearchOptions(100))
                        distinct = searcher.by_picture(picture, search=SearchOptions(3, distinct_product=True))
                        parts.append(_results(found.hits, distinct.hits, row["product_id"], 1.0))
                        strangers, others = (
                            [hit for hit in hits if hit.item.key.product_id != row["product_id"]]
                            for hits in (found.hits, distinct.hits)
                        )
                        parts.append(_results(strangers, others, row["product_id"], ABSENT_WEIGHT))
    return Results.joined(parts)


def _results(hits: Sequence[Hit], distinct: Sequence[Hit], product_id: str, weight: float) -> Results:
    best = [_evidence(hit) for hit in hits[:RESULTS]]
    limits = np.arctanh([RIVAL_FLOOR, RIVAL_CEILING])
    first, second = np.clip([_evidence(hit) for hit in distinct[:2]], *limits)
    inputs = np.array([[one, 1.0, first, second] for one in best])
    right = np.array([hit.item.key.product_id == product_id for hit in hits[:RESULTS]], float)
    return Results(inputs, right, np.full(len(best), weight))


def _evidence(hit: Hit) -> float:
    """From the Score of the bare curve back to the inverse hyperbolic tangent of the similarity."""
    return float(np.log(hit.score / (1 - hit.score)))


def train(left_out: Path) -> np.ndarray:
    """Write the curve of each folder that leaves a source out, and give the one that is fitted to all sources."""
    names: dict[str, str] = json.loads((left_out / "sources.json").read_text("utf-8"))
    results = {source: _measured_apart(source, left_out / name, DEFAULT_MODEL) for source, name in names.items()}
    for source, name in names.items():
        curve = fitted(Results.joined([part for other, part in results.items() if other != source]))
        np.savez_compressed(left_out / name / f"{SCORE}.npz", curve=curve)
        print(f"without {source}: {np.round(curve, 2).tolist()}")
    return fitted(Results.joined(list(results.values())))


def train_single(model: str) -> np.ndarray:
    """The curve of a model without trained projection, fitted to all sources: only its colour block has seen them."""
    return fitted(_measured_apart(None, None, model))


def _measured_apart(source: str | None, folder: Path | None, model: str) -> Results:
    """In a process of its own, with the parameters of a folder (None: the package's) and the bare curve."""
    with tempfile.TemporaryDirectory() as temporary:
        parameters = Path(temporary) / "parameters"
        parameters.mkdir()
        for path in _files(folder):
            (parameters / path.name).symlink_to(path.resolve())
        np.savez_compressed(parameters / f"{SCORE}.npz", curve=np.array(BARE_CURVE))
        target = Path(temporary) / "results.npz"
        subprocess.run(
            [sys.executable, "-m", "training.score", source or "", model, str(target)],
            env={**os.environ, PARAMETERS_VARIABLE: str(parameters)},
            check=True,
        )
        with np.load(target) as archive:
            return Results(**archive)


def _files(folder: Path | None) -> Iterable[Path]:
    return () if folder is None else (path for path in folder.glob("*.npz") if path.stem != SCORE)


if __name__ == "__main__":
    one = measured(sys.argv[1] or None, sys.argv[2])
    np.savez(sys.argv[3], **one._asdict())
