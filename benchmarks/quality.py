"""Retrieval quality on photos with ground truth: hit@k and mAP, per source.

The folder holds ``groundtruth.csv`` with the columns ``file,split,product_id,category,source,view``: every ``gallery``
picture is indexed, every ``query`` picture is searched, and a result is right when it has the query's product. AP is
(1/R) times the sum over right results of the precision at their rank; what is not returned counts as not found.
"""

from __future__ import annotations

import csv
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.setting import EVALUATION_DATA, show
from imgsearch import AddPicture, FilePicture, Instance, Key, Kind, SearchOptions
from imgsearch.algorithm.models import DEFAULT_MODEL

PAGE = 100
MAX_RESULTS = 500
ALL = "all"


@dataclass(frozen=True)
class Picture:
    """One line of the ground truth."""

    file: Path
    split: str
    product_id: str
    source: str


@dataclass
class Figures:
    """Sums over queries."""

    queries: int = 0
    hit1: int = 0
    hit5: int = 0
    hit10: int = 0
    precision: float = 0.0

    def count(self, right: list[bool], relevant: int) -> None:
        """Take note of one query: which ranks are right, and how many right pictures there are."""
        self.queries += 1
        self.hit1 += any(right[:1])
        self.hit5 += any(right[:5])
        self.hit10 += any(right[:10])
        found = 0
        for rank, is_right in enumerate(right, 1):
            if is_right:
                found += 1
                self.precision += found / rank / relevant

    def row(self) -> tuple[float, ...]:
        """hit@1, hit@5, hit@10, mAP."""
        return tuple(value / self.queries for value in (self.hit1, self.hit5, self.hit10, self.precision))


def read_ground_truth(folder: Path) -> list[Picture]:
    with (folder / "groundtruth.csv").open(encoding="utf-8", newline="") as file:
        return [
            Picture(folder / row["file"], row["split"], row["product_id"], row["source"])
            for row in csv.DictReader(file)
        ]


def measure(folder: Path, model: str = DEFAULT_MODEL) -> dict[str, Figures]:
    """Index and search; figures by source, and over all."""
    pictures = read_ground_truth(folder)
    gallery = [picture for picture in pictures if picture.split == "gallery"]
    queries = [picture for picture in pictures if picture.split == "query"]
    figures: dict[str, Figures] = defaultdict(Figures)
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "instance"
        Instance.create(target, Kind.GENERIC, model=model)
        with Instance.open(target) as instance:
            for outcome in instance.apply(
                AddPicture(str(picture.file), Key(picture.product_id, picture.file.name), FilePicture(picture.file))
                for picture in gallery
            ):
                if outcome.error is not None:
                    raise outcome.error
            with instance.searching() as searcher:
                for query in queries:
                    ranked: list[str] = []
                    for start in range(0, min(MAX_RESULTS, len(gallery)), PAGE):
                        result = searcher.by_picture(FilePicture(query.file), search=SearchOptions(PAGE, start))
                        ranked += [hit.item.key.product_id for hit in result.hits]
                    right = [product_id == query.product_id for product_id in ranked]
                    relevant = sum(picture.product_id == query.product_id for picture in gallery)
                    for name in (ALL, query.source):
                        figures[name].count(right, relevant)
    return figures


def main() -> None:
    for folder in (EVALUATION_DATA / "retrieval", Path(__file__).resolve().parent.parent / "sample_data"):
        if not (folder / "groundtruth.csv").exists():
            print(f"quality: no ground truth in {folder}, left out")
            continue
        figures = measure(folder)
        rows = [(name, figures[name].queries, *figures[name].row()) for name in (ALL, *sorted(set(figures) - {ALL}))]
        show(
            f"Retrieval quality, {folder.name}, {DEFAULT_MODEL}",
            ("source", "queries", "hit@1", "hit@5", "hit@10", "mAP"),
            rows,
        )


if __name__ == "__main__":
    main()
