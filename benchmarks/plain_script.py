"""What people write first: timm, torch and FAISS's ``IndexFlatIP``, with the same networks. A baseline.

``python -m benchmarks.plain_script FEATURES.npy PICTURE…`` runs the networks of the default model over each picture, as
``imgsearch`` does when it finds the subject and tells the category, and prints the rows of the ten nearest features.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

NETWORKS = (
    ("tf_efficientnet_lite2", 260),
    ("tf_efficientnet_lite0", 224),  # the features
    ("tf_efficientnet_lite0", 256),  # the subject
    ("tf_efficientnet_lite1", 240),  # the category, beside the first
)


def networks() -> list[tuple[Any, int]]:
    """The networks, without weights: these change no time."""
    from imgsearch.vision.model_builder import import_timm  # also where torchvision was built for another torch

    timm = import_timm()
    return [(timm.create_model(name, pretrained=False, num_classes=0).eval(), size) for name, size in NETWORKS]


def embed(models: list[tuple[Any, int]], path: str) -> Any:
    """One picture through all networks; shape (1, channels)."""
    import torch
    from PIL import Image

    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    parts = []
    with torch.inference_mode():
        for model, size in models:
            pixels = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 127.5 - 1
            parts.append(model(torch.from_numpy(pixels).permute(2, 0, 1)[None]))
        return torch.nn.functional.normalize(torch.cat(parts, dim=1), dim=1).numpy()


def main() -> None:
    import faiss

    features = np.load(sys.argv[1]).astype(np.float32)
    index = faiss.IndexFlatIP(features.shape[1])
    index.add(features)
    models = networks()
    for path in sys.argv[2:]:
        vector = embed(models, path)[:, : features.shape[1]]
        _, rows = index.search(np.ascontiguousarray(vector), 10)
        print(*rows[0])


if __name__ == "__main__":
    main()
