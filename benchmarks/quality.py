"""What is found: hit@k and mAP on pictures with ground truth, per source.

``imgsearch eval`` does the measuring. Beside the plain figures stand those that carry over: each source measured with
parameters that learned nothing from it (``training/left_out``). The features alone are measured in every precision that
the processor has, as one without bfloat16 orders near-equals otherwise. Last, the photos are dealt at random to 20
products, as a catalogue with catch-all ProductIds would have them: neither lift nor siblings may do harm there.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.setting import EVALUATION_DATA, ROOT, calculating_in, precisions, show
from imgsearch import AddPicture, FilePicture, Instance, Key, SearchOptions
from imgsearch.evaluation.evaluate import evaluate
from imgsearch.evaluation.ground_truth import ALL, GroundTruth, Part
from imgsearch.evaluation.retrieval import Found
from imgsearch.service.categories import Kind
from imgsearch.types import MAX_RESULTS
from imgsearch.vision.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from imgsearch.evaluation.breakdown import Breakdown
    from imgsearch.evaluation.ground_truth import CataloguePicture
    from imgsearch.evaluation.retrieval import RetrievalFigures
    from imgsearch.search.searcher import Searcher


def measure(
    folder: Path, model: str = DEFAULT_MODEL, left_out: Path | None = None
) -> tuple[Breakdown[RetrievalFigures], Breakdown[RetrievalFigures] | None]:
    """The features alone: whole pictures, searched without categories.

    Args:
        folder: with pictures and ground truth.
        model: that makes the features.
        left_out: folder of parameters, each trained without one source.

    Returns:
        The figures with the parameters that are shipped, and those with nothing learned from each source (None without
        ``left_out``).
    """
    result = evaluate(
        folder, [Part.RETRIEVAL], kind=Kind.GENERIC, model=model, crop=False, left_out=left_out, announce=print
    )
    if result.failures or result.retrieval is None or (left_out is not None and result.left_out is None):
        raise RuntimeError(f"not every picture was measured: {result.failures[:3]}")
    return result.retrieval, result.left_out


LEFT_OUT = ROOT / "training" / "left_out"
CATCH_ALLS = 20
PAGE = 100
COLUMNS = ("source", "queries", "hit@1", "hit@5", "hit@10", "mAP", "MRR@distinct", "products@10", "ECE")


def rows(figures: Breakdown[RetrievalFigures]) -> list[tuple[object, ...]]:
    """A row for all, and one for each source."""
    return [
        (
            *(name, one.queries, one.hit1, one.hit5, one.hit10, one.mean_average_precision),
            *(one.mean_reciprocal_rank, one.products10, one.calibration.error),
        )
        for name, one in {ALL: figures.overall, **figures.groups}.items()
    ]


def judged(searcher: Searcher, query: CataloguePicture, right: set[str], *, lift: bool = True) -> tuple[bool, float]:
    """hit@1 and average precision of one query; the PicNames in ``right`` are right."""
    hits = [
        hit.item.key.pic_name in right
        for start in range(0, MAX_RESULTS, PAGE)
        for hit in searcher.by_picture(FilePicture(query.file), search=SearchOptions(PAGE, start, lift=lift)).hits
    ]
    found = Found(tuple(rank for rank, is_right in enumerate(hits, 1) if is_right), len(right))
    return found.hit(1), found.average_precision


def dealt(folder: Path, *, lift: bool) -> tuple[float, float]:
    """hit@1 and mAP where each gallery picture has a ProductId at random; its true product decides what is right."""
    truth = GroundTruth.read(folder, [Part.RETRIEVAL]).retrieval
    assert truth is not None
    draw = random.Random(CATCH_ALLS)
    products = {str(number): one.key.product_id for number, one in enumerate(truth.gallery)}
    first, precisions = 0, 0.0
    with tempfile.TemporaryDirectory() as temporary:
        Instance.create(Path(temporary) / "instance", Kind.GENERIC)
        with Instance.open(Path(temporary) / "instance") as instance:
            keys = [Key(f"catch-all {draw.randrange(CATCH_ALLS)}", name) for name in products]
            list(
                instance.apply(
                    AddPicture(str(one.file), key, FilePicture(one.file))
                    for one, key in zip(truth.gallery, keys, strict=True)
                )
            )
            with instance.searching() as searcher:
                for query in truth.queries:
                    right = {name for name, product in products.items() if product == query.key.product_id}
                    hit, precision = judged(searcher, query, right, lift=lift)
                    first += hit
                    precisions += precision
    return first / len(truth.queries), precisions / len(truth.queries)


def main() -> None:
    usable = precisions()
    for folder in (EVALUATION_DATA / "retrieval", ROOT / "sample_data"):
        if not (folder / "groundtruth.csv").exists():
            print(f"quality: no ground truth in {folder}, left out")
            continue
        for precision in usable:
            with calculating_in(precision):
                figures, _ = measure(folder)
            show(f"Whole pictures, {folder.name}, {DEFAULT_MODEL}, {precision}", COLUMNS, rows(figures))
    if not (EVALUATION_DATA / "retrieval" / "groundtruth.csv").exists():
        return
    result = evaluate(EVALUATION_DATA, [Part.RETRIEVAL], left_out=LEFT_OUT, announce=print)
    assert result.retrieval is not None
    assert result.left_out is not None
    show("Product instance, everything predicted", COLUMNS, rows(result.retrieval))
    show("The same, each source with parameters that learned nothing from it", COLUMNS, rows(result.left_out))
    catch_alls = [
        (name, *dealt(EVALUATION_DATA / "retrieval", lift=lift)) for name, lift in (("lift", True), ("no lift", False))
    ]
    show(f"Photos dealt at random to {CATCH_ALLS} products", ("ranking", "hit@1", "mAP"), catch_alls)


if __name__ == "__main__":
    main()
