"""Retrieval quality on pictures with ground truth: hit@k and mAP, per source. ``imgsearch eval`` does the measuring.

Each figure is taken in every precision that the processor has, as one without bfloat16 orders near-equals otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.setting import EVALUATION_DATA, ROOT, calculating_in, precisions, show
from imgsearch.algorithm.models import DEFAULT_MODEL
from imgsearch.categories import Kind
from imgsearch.evaluation.evaluate import evaluate
from imgsearch.evaluation.ground_truth import ALL, Part

if TYPE_CHECKING:
    from pathlib import Path

    from imgsearch.evaluation.breakdown import Breakdown
    from imgsearch.evaluation.retrieval import RetrievalFigures


def measure(folder: Path, model: str = DEFAULT_MODEL) -> Breakdown[RetrievalFigures]:
    """The features alone: whole pictures, searched without categories."""
    result = evaluate(folder, [Part.RETRIEVAL], kind=Kind.GENERIC, model=model, crop=False)
    if result.failures or result.retrieval is None:
        raise RuntimeError(f"not every picture was measured: {result.failures[:3]}")
    return result.retrieval


def main() -> None:
    usable = precisions()
    for folder in (EVALUATION_DATA / "retrieval", ROOT / "sample_data"):
        if not (folder / "groundtruth.csv").exists():
            print(f"quality: no ground truth in {folder}, left out")
            continue
        for precision in usable:
            with calculating_in(precision):
                figures = measure(folder)
            rows = [
                (name, one.queries, one.hit1, one.hit5, one.hit10, one.mean_average_precision)
                for name, one in {ALL: figures.overall, **figures.groups}.items()
            ]
            show(
                f"Retrieval quality, {folder.name}, {DEFAULT_MODEL}, {precision}",
                ("source", "queries", "hit@1", "hit@5", "hit@10", "mAP"),
                rows,
            )


if __name__ == "__main__":
    main()
