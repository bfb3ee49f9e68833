"""Two processors: how far apart features are that one with bfloat16 makes and one without, and what searches find.

The same files are added and searched for in one precision, and in the other. Features are compared with the subject
found on either side, as ``add`` finds it, and of whole pictures, where the networks see the very same pixels.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.setting import EVALUATION_DATA, ROOT, calculating_in, precisions, show
from imgsearch import AddPicture, FilePicture, Instance, Key, SearchOptions
from imgsearch.errors import InputError
from imgsearch.evaluation.ground_truth import GroundTruth, Part
from imgsearch.values import PictureOptions
from imgsearch.vision.device_parity import cosines
from imgsearch.vision.precision import BF16, F32

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgsearch.evaluation.ground_truth import CataloguePicture, RetrievalTruth

TOP = 10


@dataclass(frozen=True)
class _Made:
    """What one precision makes of a set."""

    features: np.ndarray
    """Of gallery and queries, as an instance keeps them; float32, shape (n, dimension)."""
    answers: list[list[Key]]
    """The first pictures for each query."""


def _add(instance: Instance, pictures: Iterable[CataloguePicture], options: PictureOptions) -> None:
    for outcome in instance.apply_stream(
        AddPicture(str(one.file), one.key, FilePicture(one.file), options) for one in pictures
    ):
        if outcome.error is not None:
            raise outcome.error


def _made(folder: Path, truth: RetrievalTruth, options: PictureOptions) -> _Made:
    Instance.create(folder / "instance")
    with Instance.open(folder / "instance", announce=print) as instance:
        _add(instance, truth.gallery, options)
        answers = []
        with instance.searching(workers=None) as searcher:
            pictures = (FilePicture(one.file) for one in truth.queries)
            for results in searcher.by_pictures(pictures, options, SearchOptions(TOP)):
                if isinstance(results, InputError):
                    raise results
                answers.append([hit.item.key for hit in results[0].hits])
        _add(instance, truth.queries, options)
        rows = {key: row for row, key in enumerate(instance.export_stream(folder / "export"))}
    order = [rows[one.key] for one in (*truth.gallery, *truth.queries)]
    return _Made(np.load(folder / "export" / "features.npy").astype(np.float32)[order], answers)


def _row(name: str, truth: RetrievalTruth, options: PictureOptions) -> tuple[object, ...]:
    made = []
    for precision in (BF16, F32):
        with tempfile.TemporaryDirectory() as folder, calculating_in(precision):
            made.append(_made(Path(folder), truth, options))
    cosine = cosines(made[0].features, made[1].features)
    pairs = list(zip(made[0].answers, made[1].answers, strict=True))
    return (
        name,
        len(cosine),
        float(cosine.min()),
        float(cosine.mean()),
        float(np.mean([one[0].product_id == other[0].product_id for one, other in pairs])),
        float(np.mean([one[0] == other[0] for one, other in pairs])),
        float(np.mean([set(one) == set(other) for one, other in pairs])),
        float(np.mean([len(set(one) & set(other)) / max(len(one), len(other)) for one, other in pairs])),
    )


def main() -> None:
    if set(precisions()) != {BF16, F32}:
        print("precision: there are no two precisions to compare, left out")
        return
    rows = []
    for folder in (ROOT / "sample_data", EVALUATION_DATA / "retrieval"):
        if not (folder / "groundtruth.csv").exists():
            print(f"precision: no ground truth in {folder}, left out")
            continue
        truth = GroundTruth.read(folder, [Part.RETRIEVAL]).retrieval
        assert truth is not None
        for how, options in (("subject found", PictureOptions()), ("whole", PictureOptions(crop=False))):
            rows.append(_row(f"{folder.name}, {how}", truth, options))
    columns = ("pictures", "number", "least cosine", "mean", "same product first", "same picture first")
    show(f"{BF16} against {F32}", (*columns, f"same {TOP}", f"shared of {TOP}"), rows)


if __name__ == "__main__":
    main()
