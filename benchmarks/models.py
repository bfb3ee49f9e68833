"""The choice of the default model: quality and speed of each known one that is at hand, with whole pictures.

Each source is measured with parameters that learned nothing from it. These figures and the speed stand in
``imgsearch/vision/known_models.py``, which ``imgsearch models`` shows. "Learned" is hit@1 with the parameters that are
shipped, which learned from all sources.
"""

from __future__ import annotations

import statistics

from benchmarks.indexing import bare_speed
from benchmarks.quality import LEFT_OUT, measure
from benchmarks.setting import EVALUATION_DATA, show
from imgsearch.locations import cache_folder
from imgsearch.vision.known_models import KNOWN_MODELS, AtHand, at_hand
from imgsearch.vision.models import DEFAULT_MODEL, find_model
from imgsearch.vision.openvino_export import converted_model
from imgsearch.vision.runtime import Network

ROUNDS = 5
PICTURES = 300
SOURCES = ("Grocery", "magento")
WITHOUT_NETWORK = (AtHand.PREPARED, AtHand.INSTALLED, AtHand.DOWNLOADED)


def main() -> None:
    folder = EVALUATION_DATA / "retrieval"
    if not (folder / "groundtruth.csv").exists():
        print(f"models: no ground truth in {folder}, left out")
        return
    cache = cache_folder()
    names = [model.name for model in KNOWN_MODELS if at_hand(model, cache) in WITHOUT_NETWORK]
    networks = {name: Network(converted_model(find_model(name), cache, print), cache, parallel=True) for name in names}
    speeds = relative_speeds(networks)
    rows = []
    for name in names:
        shipped, left_out = measure(folder, name, LEFT_OUT)
        assert left_out is not None
        whole, groups = left_out.overall, left_out.groups
        grocery, magento = (next(one for source, one in groups.items() if word in source) for word in SOURCES)
        figures = (whole.hit1, whole.mean_average_precision, grocery.hit1, magento.hit1, shipped.overall.hit1)
        rows.append((name, *figures, speeds[name]))
    show("Known models", ("model", "hit@1", "mAP", "hit@1 grocery", "hit@1 magento", "learned", "speed"), rows)


def relative_speeds(networks: dict[str, Network], rounds: int = ROUNDS, pictures: int = PICTURES) -> dict[str, float]:
    """Pictures per second of each, in units of the default's of the same round; medians."""
    ratios: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(rounds):
        speeds = {name: bare_speed(network, pictures) for name, network in networks.items()}
        for name, speed in speeds.items():
            ratios[name].append(speed / speeds[DEFAULT_MODEL])
    return {name: statistics.median(found) for name, found in ratios.items()}


if __name__ == "__main__":
    main()
