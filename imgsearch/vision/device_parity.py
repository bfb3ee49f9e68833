"""How closely a device's numbers match those of OpenVINO on the CPU, before any of them is stored beside those.

An instance may hold features that were made here and there, and is searched on the CPU. So a device is first given
pictures whose features the CPU makes, too; that is done once per machine, model and device.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from imgsearch.durable_fs import atomic_file, make_private_folder, private_opener
from imgsearch.errors import DeviceUnusable
from imgsearch.quantization import HALF
from imgsearch.vision.devices import CPU, HINT, Device
from imgsearch.vision.model_cache import mark_used, parity_folder
from imgsearch.vision.models import CATEGORY_SIZE, LOCATOR_SIZE
from imgsearch.vision.openvino_export import ConvertedModel
from imgsearch.vision.runtime import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["LEAST_COSINE", "check_agreement", "cosines", "textures"]

LEAST_COSINE: Final = 0.985
"""What each output of the networks must have with the CPU's, for each picture.

With embedded models, and bfloat16 on one side or on both, features have 0.991 and more on these pictures, all else has
0.997, and in float32 it is 0.9999; two different ones of the pictures have 0.87 at most (OpenVINO and torch on a CPU).
"""
PICTURES: Final = 16
WAVES: Final = 6
OCTAVES: Final = 4


def textures(count: int, size: int) -> list[npt.NDArray[np.uint8]]:
    """Pictures out of nothing, always the same: waves of colour, with other ones in a disc that may be a subject.

    Args:
        count: how many, no two alike.
        size: side in pixels.

    Returns:
        Each of shape (size, size, 3), RGB.
    """
    return [_texture(np.random.default_rng(number), size) for number in range(count)]


def _texture(generator: np.random.Generator, size: int) -> npt.NDArray[np.uint8]:
    down, right = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j][..., np.newaxis]
    waves = np.zeros((size, size, 3))
    for number in range(WAVES):
        octave = number % OCTAVES
        frequencies = generator.normal(0, 2.0 ** (octave + 1), (2, 3))
        phases = generator.uniform(0, 2 * np.pi, 3)
        waves += np.sin(2 * np.pi * (right * frequencies[0] + down * frequencies[1]) + phases) / (1 + octave)
    (x, y), radius = generator.uniform(0.3, 0.7, 2), generator.uniform(0.15, 0.35)
    inside = (right - x) ** 2 + (down - y) ** 2 < radius**2
    picture = np.where(inside, -waves[::-1], 0.3 * waves)
    picture -= picture.min()
    pixels: npt.NDArray[np.uint8] = np.rint(255 * picture / picture.max()).astype(np.uint8)
    return pixels


def cosines(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cosine of each row of one array to the same row of the other; shapes (n, …) to (n,)."""
    first, second = (rows.reshape(len(rows), -1) for rows in (one, other))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosine: npt.NDArray[np.float32] = (first * second).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return cosine


def check_agreement(
    model: ConvertedModel, device: Device, cache: Path, announce: Callable[[str], None] = lambda _text: None
) -> None:
    """Refuse a device whose numbers are too far from the CPU's; what is known from before is not measured again.

    Args:
        model: that makes the features.
        device: it has been checked.
        cache: folder of converted and compiled models.
        announce: told in lines for people what takes its time.

    Raises:
        DeviceUnusable: it tells the numbers.
        InvalidModel, StorageFull, StorageUnwritable: as networks are converted and loaded.
    """
    if not device.is_torch:
        return
    described = f"{device.description()}\n{Device(CPU).description()}\n{LEAST_COSINE}"
    digest = hashlib.sha256(described.encode()).hexdigest()[:16]
    note = parity_folder(cache) / f"{model.record.cache_name()}-{digest}.json"
    if note.exists():
        mark_used(note)
        return
    announce(f"Comparing {device.name} with the CPU: this happens once on this machine …")
    found = _measured(model, device, cache, announce)
    told = ", ".join(f"{name} {least:.4f}" for name, least in found.items())
    if not all(least >= LEAST_COSINE for least in found.values()):  # which holds for what is no number, too
        raise DeviceUnusable(
            f"{device.name} and the CPU see pictures too differently for mixing their features: the least cosines over "
            f"{PICTURES} pictures are {told}, where {LEAST_COSINE} is needed: update torch and the driver, or {HINT}"
        )
    with suppress(OSError):  # it is measured again next time
        make_private_folder(note.parent)
        with atomic_file(note) as temporary, open(temporary, "w", encoding="utf-8", opener=private_opener) as file:
            json.dump({"device": device.label, "compared": described, "least": found}, file)


def _measured(model: ConvertedModel, device: Device, cache: Path, announce: Callable[[str], None]) -> dict[str, float]:
    """For each output of the networks, the least cosine between the CPU's and the device's."""
    # Features as the networks give them: a code says less about how close they are.
    model = ConvertedModel(model.folder, replace(model.record, bits=HALF))
    made = []
    for name in (CPU, device.name):
        with closing(Network(model, cache, parallel=True, announce=announce, device=name)) as network:
            made.append(_outputs(network))
    return {name: float(cosines(made[0][name], made[1][name]).min()) for name in made[0]}


def _outputs(network: Network) -> dict[str, npt.NDArray[np.float32]]:
    """What the networks make of the pictures, many at once as in ``add``: so a device gets batches, too."""
    with ThreadPoolExecutor(PICTURES) as threads:
        embedded = list(threads.map(network.embed, textures(PICTURES, network.input_size)))
        located = list(threads.map(network.locate, textures(PICTURES, LOCATOR_SIZE)))
        categories = list(threads.map(network.categorise, textures(PICTURES, CATEGORY_SIZE)))
    outputs: dict[str, Sequence[npt.NDArray[np.float32]]] = {
        "feature": [feature for feature, _ in embedded],
        "subjects": [heat for heat, _ in located],
        "category of the whole": [evidence for _, evidence in located],
        "category of the region": [
            more if share is None else share + more for (_, share), more in zip(embedded, categories, strict=True)
        ],
    }
    return {name: np.stack(rows) for name, rows in outputs.items()}
