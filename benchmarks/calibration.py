"""What Score means: how many of the results with a Score show the right product.

All queries of the evaluation photos are searched for without categories; the ten best results of each are counted. The
curve that the model's record should have is fitted by logistic regression on the similarities behind those Scores.
``imgsearch eval`` does the measuring.
"""

from __future__ import annotations

import numpy as np

from benchmarks.setting import EVALUATION_DATA, show
from imgsearch import Kind, evaluate
from imgsearch.algorithm.models import DEFAULT_MODEL, EMBEDDED_MODELS
from imgsearch.evaluation.calibration import THRESHOLDS
from imgsearch.evaluation.details import Details
from imgsearch.evaluation.ground_truth import ALL, Part


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
        details = Details()
        measured = evaluate(folder, [Part.RETRIEVAL], kind=Kind.GENERIC, model=model, details=details).retrieval
        assert measured is not None
        grades = [grade for answer in details.answers for grade in answer.found.grades]
        within = np.clip([grade.score for grade in grades], 1e-9, 1 - 1e-9)
        # What the curve is linear in.
        similarities = (np.log(within / (1 - within)) - record.score_offset) / record.score_slope
        slope, offset = fit(similarities, np.array([grade.right for grade in grades]))
        in_use = (
            f"{record.score_slope}, {record.score_offset}, which has an ECE of {measured.overall.calibration.error:.3f}"
        )
        print(f"{model}: fitted {slope:.2f}, {offset:.2f}; in use {in_use}")
        if model != DEFAULT_MODEL:
            continue
        bins = [
            (f"{one.lower:.1f} to {one.upper:.1f}", one.results, "" if one.right is None else f"{one.right:.2f}")
            for one in measured.overall.calibration.bins
        ]
        show(f"Results by Score, {model}", ("Score", "results", "right"), bins)
        rows = [
            (name, *(value for kept in one.calibration.kept for value in (kept.precision, kept.recall)))
            for name, one in {ALL: measured.overall, **measured.groups}.items()
        ]
        columns = [f"{what} from {least}" for least in THRESHOLDS for what in ("precision", "right kept")]
        show(f"What --min-score keeps of the ten best, {model}", ("source", *columns), rows)


if __name__ == "__main__":
    main()
