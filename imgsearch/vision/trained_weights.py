"""The trained parameters that come with the package: small files, made by the scripts in ``training/``.

Each is a NumPy archive without pickles. What they were trained on, and how, stands in ``training/README.md``.
IMGSEARCH_PARAMETERS names a folder whose files stand in for those of the same names: what learned nothing from some
source tells what carries over to it.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "CATEGORY",
    "COLOUR",
    "HEAD",
    "PARAMETERS_VARIABLE",
    "SCORE",
    "SHAPE",
    "SUBJECT",
    "SUBJECT_2",
    "load_parameters",
    "parameters_hash",
    "replacement",
]

PARAMETERS_VARIABLE: Final = "IMGSEARCH_PARAMETERS"
FOLDER: Final = Path(__file__).with_name("trained")

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
SCORE: Final = "score"
"""The curve of Score; only in folders of replacements, as the package has its curves in the registry."""


def replacement(name: str) -> Path | None:
    """The file that stands in for the package's, if the folder of replacements has one."""
    folder = os.environ.get(PARAMETERS_VARIABLE)
    path = Path(folder, f"{name}.npz") if folder else None
    return path if path is not None and path.is_file() else None


def _bytes(name: str) -> bytes:
    return (replacement(name) or FOLDER / f"{name}.npz").read_bytes()


def load_parameters(name: str) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of one file, by their names."""
    import io

    import numpy as np

    with np.load(io.BytesIO(_bytes(name)), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def parameters_hash(name: str) -> str:
    """SHA-256 of one file, as hexadecimal digits."""
    return _hash(name, os.environ.get(PARAMETERS_VARIABLE))


@lru_cache(maxsize=32)
def _hash(name: str, _folder: str | None) -> str:
    return hashlib.sha256(_bytes(name)).hexdigest()
