"""The choice of the default model: quality and speed of each embedded one, with whole pictures."""

from __future__ import annotations

import statistics

from benchmarks.indexing import bare_speed
from benchmarks.quality import measure
from benchmarks.setting import EVALUATION_DATA, show
from imgsearch.algorithm.conversion import converted_model
from imgsearch.algorithm.models import EMBEDDED_MODELS
from imgsearch.algorithm.runtime import Network
from imgsearch.paths import cache_folder

ROUNDS = 5
PICTURES = 300


def main() -> None:
    folder = EVALUATION_DATA / "retrieval"
    if not (folder / "groundtruth.csv").exists():
        print(f"models: no ground truth in {folder}, left out")
        return
    cache = cache_folder()
    networks = {
        name: Network(converted_model(record, cache, print), cache, parallel=True)
        for name, record in EMBEDDED_MODELS.items()
    }
    speeds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(ROUNDS):
        for name, network in networks.items():
            speeds[name].append(bare_speed(network, PICTURES))
    rows = []
    for name in networks:
        figures = measure(folder, name)
        grocery, magento = (
            next(one for source, one in figures.groups.items() if word in source) for word in ("Grocery", "magento")
        )
        whole = figures.overall
        speed = round(statistics.median(speeds[name]))
        rows.append((name, whole.hit1, whole.mean_average_precision, grocery.hit1, magento.hit1, speed))
    show("Embedded models", ("model", "hit@1", "mAP", "hit@1 grocery", "hit@1 magento", "pictures/s"), rows)


if __name__ == "__main__":
    main()
