"""The trained parameters that come with the package: small files, made by the scripts in ``training/``.

Each is a NumPy archive without pickles. What they were trained on, and how, stands in ``training/README.md``.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["CATEGORY", "COLOUR", "HEAD", "SHAPE", "SUBJECT", "SUBJECT_2", "load_parameters", "parameters_hash"]

SUBJECT: Final = "subject"
"""The decoder that reads a heat map off EfficientNet-Lite0."""
SUBJECT_2: Final = "subject_2"
"""The one of feature version 2."""
HEAD: Final = "head"
"""The projection of the joined networks of the default model to the feature of version 2."""
SHAPE: Final = "shape"
"""From the activations of the joined networks of the default model to the shape block of a feature of version 3."""
COLOUR: Final = "colour"
"""From a histogram of colours to the colour block."""
CATEGORY: Final = "category"
"""The category predictor."""


def _bytes(name: str) -> bytes:
    return files("imgsearch.algorithm").joinpath("trained").joinpath(f"{name}.npz").read_bytes()


def load_parameters(name: str) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of one file, by their names."""
    import io

    import numpy as np

    with np.load(io.BytesIO(_bytes(name)), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@lru_cache(maxsize=8)
def parameters_hash(name: str) -> str:
    """SHA-256 of one file, as hexadecimal digits."""
    return hashlib.sha256(_bytes(name)).hexdigest()
