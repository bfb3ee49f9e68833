"""What ``tune`` gains: for gallery pictures, as it validates itself, and for query photos of held-out products.

For the second, products are dealt to five folds. The queries of a fold search the whole gallery, tuned with a
projection that was learned from the products of the other folds. Intervals are by bootstrap over products.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.quality import judged
from benchmarks.setting import EVALUATION_DATA, show
from imgsearch import AddPicture, FilePicture, Instance
from imgsearch.evaluation.ground_truth import ALL, GroundTruth, Part
from imgsearch.filters.tree import EVERYTHING
from imgsearch.projection import estimated, learned, within_scatter

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from imgsearch.evaluation.ground_truth import CataloguePicture, RetrievalTruth
    from imgsearch.projection import Estimate, Projection

FOLDS = 5
SEED = 11
FIGURES = ("hit@1", "mAP")


def _retune(instance: Instance, projection: Projection | None) -> None:
    with instance._opened.writing(0.0, alone=True) as engine:  # noqa: SLF001  # there is no public way to tune by hand
        engine.retune(projection)


def _projections(instance: Instance, folds: dict[str, int]) -> list[Projection]:
    """For each fold, the projection learned from the products of the others."""
    with instance._opened.reading() as engine:  # noqa: SLF001
        stored = list(engine.store.pictures(engine.store.matching_ids(EVERYTHING).tolist()))
    length = instance.model.shape_dimension
    shapes = np.stack([one.feature for one in stored])[:, :length].astype(np.float32)
    _, groups = np.unique([one.item.key.product_id for one in stored], return_inverse=True)
    owners = np.array([folds[one.item.key.product_id] for one in stored])
    return [learned(*within_scatter(shapes[owners != fold], groups[owners != fold])) for fold in range(FOLDS)]


def _asked(
    instance: Instance, queries: Sequence[CataloguePicture], right: dict[str, set[str]]
) -> npt.NDArray[np.float64]:
    """hit@1 and average precision of each query, shape (queries, 2)."""
    with instance.searching() as searcher:
        return np.array([judged(searcher, query, right[query.key.product_id]) for query in queries], np.float64)


def measure(instance: Instance, truth: RetrievalTruth) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Figures of the queries before and after tuning by others' products, each of shape (queries, 2)."""
    products = sorted({one.key.product_id for one in truth.gallery})
    dealt = np.random.default_rng(SEED).permutation(len(products)) % FOLDS
    folds = dict(zip(products, dealt.tolist(), strict=True))
    right: dict[str, set[str]] = {product: set() for product in products}
    for one in truth.gallery:
        right[one.key.product_id].add(one.key.pic_name)
    before = _asked(instance, truth.queries, right)
    after = np.empty_like(before)
    for fold, projection in enumerate(_projections(instance, folds)):
        _retune(instance, projection)
        chosen = [number for number, one in enumerate(truth.queries) if folds[one.key.product_id] == fold]
        after[chosen] = _asked(instance, [truth.queries[number] for number in chosen], right)
    _retune(instance, None)
    return before, after


def _interval(gain: Estimate) -> str:
    return f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"


def main() -> None:
    folder = EVALUATION_DATA / "retrieval"
    if not (folder / "groundtruth.csv").exists():
        print(f"tuning: no ground truth in {folder}, left out")
        return
    truth = GroundTruth.read(EVALUATION_DATA, [Part.RETRIEVAL]).retrieval
    assert truth is not None
    with tempfile.TemporaryDirectory() as temporary:
        Instance.create(Path(temporary) / "instance")
        with Instance.open(Path(temporary) / "instance") as instance:
            list(instance.apply(AddPicture(str(one.file), one.key, FilePicture(one.file)) for one in truth.gallery))
            before, after = measure(instance, truth)
            report = instance.tune()
    _, products = np.unique([one.key.product_id for one in truth.queries], return_inverse=True)
    sources = np.array([str(one.source) for one in truth.queries])
    rows: list[tuple[object, ...]] = []
    for source in (ALL, *np.unique(sources).tolist()):
        some = np.flatnonzero((sources == source) | (source == ALL))
        gains = [estimated((after - before)[some, column], products[some]) for column in range(len(FIGURES))]
        plain = (f"{was:.3f} to {now:.3f}" for was, now in zip(before[some].mean(0), after[some].mean(0), strict=True))
        rows.append((source, len(some), *plain, *map(_interval, gains)))
    columns = ("source", "queries", *FIGURES, *(f"gain, {name}" for name in FIGURES))
    show("Query photos, tuned with the products of other folds", columns, rows)
    own = [
        ("hit@1", report.before.hit1.mean, report.after.hit1.mean, _interval(report.gain.hit1)),
        (
            "mAP",
            report.before.mean_average_precision.mean,
            report.after.mean_average_precision.mean,
            _interval(report.gain.mean_average_precision),
        ),
    ]
    title = f"`tune` itself: {report.queries} pictures of {report.products} products; kept: {report.kept}"
    show(title, ("figure", "before", "after", "gain"), own)


if __name__ == "__main__":
    main()
