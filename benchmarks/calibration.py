"""Calibration of Score: the share of results with a given Score that show the right product.

All queries of the evaluation photos are searched for without categories; the ten best results of each are counted.
``imgsearch eval`` does the measuring, ``python -m training score`` fits the curves.
"""

from __future__ import annotations

from benchmarks.setting import EVALUATION_DATA, show
from imgsearch import Kind, evaluate
from imgsearch.evaluation.calibration import THRESHOLDS
from imgsearch.evaluation.ground_truth import ALL, Part
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS


def main() -> None:
    folder = EVALUATION_DATA / "retrieval"
    if not (folder / "groundtruth.csv").exists():
        print(f"calibration: no ground truth in {folder}, left out")
        return
    for model in EMBEDDED_MODELS:
        measured = evaluate(folder, [Part.RETRIEVAL], kind=Kind.GENERIC, model=model).retrieval
        assert measured is not None
        print(f"{model}: expected calibration error {measured.overall.calibration.error:.3f}")
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
