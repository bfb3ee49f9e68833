"""How much of a picture can be read off its feature: small copies predicted from features by ridge regression.

The attacker has features together with their pictures, as anybody has who runs the same model on pictures of his own,
and learns a linear map from features to copies of 1 x 1 to 16 x 16 pixels. What it explains of pictures of products
that it has never seen is reported as R²: 0 is the mean of all pictures, 1 the picture. Five folds by product; the
strength of the ridge is chosen on one fold of the training's. Attackers with more pictures, or with a generative
network, get further: these figures bound the danger from below.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.setting import EVALUATION_DATA, show
from imgsearch import FilePicture, Instance, Kind, PictureOptions
from imgsearch.errors import InputError
from imgsearch.evaluation.ground_truth import GroundTruth, Part
from imgsearch.quantization import quantised

if TYPE_CHECKING:
    from collections.abc import Callable

SIDES = (1, 2, 4, 8, 16)
FOLDS = 5
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

KEPT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half precision": lambda features: features.astype(np.float16).astype(np.float64),
    **{
        f"{bits} bits a number": lambda features, bits=bits: quantised(features, bits).astype(np.float64)
        for bits in (8, 4, 2)
    },
    "signs (not offered)": lambda features: np.sign(features).astype(np.float64) / np.sqrt(features.shape[1]),
}


def data(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features of whole pictures, bits of their perceptual hashes, copies, and the product of each.

    Bits are -1 and 1; copies have 16 x 16 pixels, shape (n, 16, 16, 3), in 0..1.
    """
    truth = GroundTruth.read(folder, [Part.RETRIEVAL]).retrieval
    assert truth is not None
    features, hashes, copies, products = [], [], [], []
    pictures = [(one.file, one.key.product_id) for one in (*truth.gallery, *truth.queries)]
    with tempfile.TemporaryDirectory() as temporary:
        Instance.create(Path(temporary) / "instance", Kind.GENERIC)
        with Instance.open(Path(temporary) / "instance") as instance:
            sources = [(FilePicture(path), PictureOptions(crop=False)) for path, _ in pictures]
            for (path, product), found in zip(pictures, instance.analyse(sources), strict=True):
                if isinstance(found, InputError):
                    raise found
                features.append(found.feature)
                assert found.picture_hash is not None
                hashes.append(np.unpackbits(np.frombuffer(found.picture_hash, np.uint8)) * 2.0 - 1.0)
                upright = Image.open(io.BytesIO(instance.thumbnail(FilePicture(path), 256)))
                copies.append(np.asarray(upright.resize((16, 16), Image.Resampling.BOX), np.float64) / 255)
                products.append(product)
    return np.stack(features), np.stack(hashes), np.stack(copies), np.array(products)


def explained(features: np.ndarray, wanted: np.ndarray, folds: np.ndarray) -> float:
    """R² of the ridge's predictions for pictures of held-out products.

    Args:
        features: shape (n, dimension).
        wanted: shape (n, numbers).
        folds: of each picture, 0 to FOLDS - 1.
    """
    left = total = 0.0
    for fold in range(FOLDS):
        inner = (folds != fold) & (folds != (fold + 1) % FOLDS)
        chosen = folds == (fold + 1) % FOLDS
        errors = {
            strength: np.sum((wanted[chosen] - predicted(features, wanted, inner, chosen, strength)) ** 2)
            for strength in STRENGTHS
        }
        known, held_out = folds != fold, folds == fold
        guess = predicted(features, wanted, known, held_out, min(errors, key=lambda strength: errors[strength]))
        left += float(np.sum((wanted[held_out] - guess) ** 2))
        total += float(np.sum((wanted[held_out] - wanted[known].mean(axis=0)) ** 2))
    return 1 - left / total


def predicted(
    features: np.ndarray, wanted: np.ndarray, known: np.ndarray, asked: np.ndarray, strength: float
) -> np.ndarray:
    """What ridge regression on the known pictures says of those asked for."""
    mean, goal = features[known].mean(axis=0), wanted[known].mean(axis=0)
    inputs = features[known] - mean
    gram = inputs.T @ inputs + strength * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ (wanted[known] - goal))
    return np.asarray((features[asked] - mean) @ weights + goal)


def main() -> None:
    folder = EVALUATION_DATA / "retrieval"
    if not (folder / "groundtruth.csv").exists():
        print(f"inversion: no ground truth in {folder}, left out")
        return
    features, hashes, copies, products = data(folder)
    names, numbers = np.unique(products, return_inverse=True)
    folds = np.random.default_rng(0).permutation(len(names))[numbers] % FOLDS
    rows = []
    stored = {kept: keep(features) for kept, keep in KEPT.items()}
    stored["perceptual hash"] = hashes / np.sqrt(hashes.shape[1])
    for kept, known in stored.items():
        row: list[object] = [kept]
        for side in SIDES:
            step = 16 // side
            small = copies.reshape(len(copies), side, step, side, step, 3).mean(axis=(2, 4))
            row.append(explained(known, small.reshape(len(small), -1), folds))
        rows.append(row)
    columns = ("kept", *(f"{side} x {side}" for side in SIDES))
    show(f"R² of copies predicted from features, {len(features)} pictures", columns, rows)


if __name__ == "__main__":
    main()
