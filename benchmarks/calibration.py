"""What Score means: how many of the results with a Score show the right product.

All queries of the evaluation photos are searched for without categories; the ten best results of each are counted. The
curve that the model's record should have is fitted by logistic regression on the similarities behind those Scores.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.setting import EVALUATION_DATA, show
from imgsearch import AddPicture, FilePicture, Instance, Kind, SearchOptions
from imgsearch.algorithm.models import DEFAULT_MODEL, EMBEDDED_MODELS
from imgsearch.evaluation.ground_truth import GroundTruth, Part

RESULTS = 10
THRESHOLDS = (0.3, 0.5, 0.7)
BINS = np.linspace(0, 1, 11)


def results(folder: Path, model: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, whether each result is right, and each one's source."""
    truth = GroundTruth.read(folder, [Part.RETRIEVAL]).retrieval
    assert truth is not None
    scores, right, sources = [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "instance"
        Instance.create(target, Kind.GENERIC, model=model)
        with Instance.open(target) as instance:
            list(instance.apply(AddPicture(str(one.file), one.key, FilePicture(one.file)) for one in truth.gallery))
            with instance.searching() as searcher:
                for query in truth.queries:
                    found = searcher.by_picture(FilePicture(query.file), search=SearchOptions(RESULTS))
                    scores += [hit.score for hit in found.hits]
                    right += [hit.item.key.product_id == query.key.product_id for hit in found.hits]
                    sources += [query.source] * len(found.hits)
    return np.array(scores), np.array(right), np.array(sources)


def fit(similarities: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the logistic curve, by Newton's method."""
    inputs = np.stack([similarities, np.ones_like(similarities)], axis=1)
    weights = np.zeros(2)
    for _ in range(50):
        chances = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (chances - right)
        hessian = (inputs * (chances * (1 - chances))[:, None]).T @ inputs
        weights -= np.linalg.solve(hessian, gradient)
    return float(weights[0]), float(weights[1])


def main() -> None:
    folder = EVALUATION_DATA / "retrieval"
    if not (folder / "groundtruth.csv").exists():
        print(f"calibration: no ground truth in {folder}, left out")
        return
    for model, record in EMBEDDED_MODELS.items():
        scores, right, sources = results(folder, model)
        within = np.clip(scores, 1e-9, 1 - 1e-9)
        # What the curve is linear in.
        similarities = (np.log(within / (1 - within)) - record.score_offset) / record.score_slope
        slope, offset = fit(similarities, right)
        print(f"{model}: fitted {slope:.2f}, {offset:.2f}; in use {record.score_slope}, {record.score_offset}")
        if model != DEFAULT_MODEL:
            continue
        rows = [
            (f"{low:.1f} to {high:.1f}", int(inside.sum()), f"{right[inside].mean():.2f}" if inside.any() else "")
            for low, high in itertools.pairwise(BINS)
            for inside in [(scores >= low) & (scores < high)]
        ]
        show(f"Results by Score, {model}", ("Score", "results", "right"), rows)
        groups = {"all": np.ones(len(right), bool)} | {name: sources == name for name in np.unique(sources)}
        rows = [
            (name, *(value for least in THRESHOLDS for value in _kept(scores[chosen], right[chosen], least)))
            for name, chosen in groups.items()
        ]
        columns = [f"{what} from {least}" for least in THRESHOLDS for what in ("precision", "right kept")]
        show(f"What --min-score keeps of the ten best, {model}", ("source", *columns), rows)


def _kept(scores: np.ndarray, right: np.ndarray, least: float) -> tuple[float, float]:
    kept = scores >= least
    return float(right[kept].mean()) if kept.any() else float("nan"), float(right[kept].sum() / max(1, right.sum()))


if __name__ == "__main__":
    main()
