"""Models that are known to work, with what there is to know for choosing one.

The figures are those of ``benchmarks/EARLIER.md``, of feature version 2 so far; ``benchmarks/models.py`` takes them.
What was not measured here has none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imgsearch.vision.extras import missing_packages
from imgsearch.vision.model_weights import PACKAGE
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS, find_model

if TYPE_CHECKING:
    from imgsearch.vision.models import ModelRecord

__all__ = ["KNOWN_MODELS", "AtHand", "Figures", "KnownModel", "at_hand"]

TIMM: Final = "by name, from the hub or with --weights"
EXPORTED: Final = "as a folder: docs/models.md tells how to make it"
WEIGHTS: Final = (".safetensors", ".bin")


class AtHand(StrEnum):
    """What it takes to use a model here."""

    PREPARED = "prepared"
    """Converted on this machine: nothing."""
    INSTALLED = "installed"
    """Its weights are there: some seconds, once."""
    DOWNLOADED = "downloaded"
    """Likewise, by somebody's download from the hub."""
    PACKAGE = "needs its package"
    EXTRA = "needs imgsearch-local[models]"
    """What converts it is not installed."""
    NETWORK = "needs a network"


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured with whole pictures in a generic instance.

    Each source was measured with parameters that learned nothing from it (``benchmarks/models.py``).
    """

    hit1: float
    mean_average_precision: float
    speed: float
    """Pictures per second, in units of the default model's."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One model, as people choose one."""

    name: str
    """As ``--model`` takes it; of a folder, what others call the model."""
    licence: str
    """Of its weights."""
    input_size: int
    """Side of the pictures that it is fed with, in pixels."""
    dimension: int
    """Numbers in a feature."""
    megabytes: int
    """Of its weights, where they come from; in millions of bytes."""
    figures: Figures | None = None
    """None: not measured by us."""
    has_text: bool = False
    """Whether pictures can be searched for by words."""
    source: str = TIMM
    hub: str | None = None
    """Repository of the weights on Hugging Face."""

    @property
    def is_default(self) -> bool:
        """Whether it is the one that is used where none is named."""
        return self.name == DEFAULT_MODEL


def _embedded(name: str, megabytes: int, figures: Figures) -> KnownModel:
    record = EMBEDDED_MODELS[name]
    return KnownModel(
        name=name,
        licence=record.licence,
        input_size=record.input_size,
        dimension=record.dimension,
        megabytes=megabytes,
        figures=figures,
        source="comes with imgsearch",
    )


KNOWN_MODELS: Final = (
    _embedded(DEFAULT_MODEL, 43, Figures(0.807, 0.843, 1.0)),
    _embedded("efficientnet-lite2", 25, Figures(0.809, 0.845, 1.4)),
    _embedded("efficientnet-lite1", 22, Figures(0.754, 0.813, 1.9)),
    _embedded("efficientnet-lite0", 19, Figures(0.772, 0.823, 2.7)),
    KnownModel(
        name="vit_base_patch16_siglip_224.v2_webli",
        licence="Apache-2.0",
        input_size=224,
        dimension=832,
        megabytes=372,
        hub="timm/vit_base_patch16_siglip_224.v2_webli",
    ),
    KnownModel(
        name="vit_small_patch14_dinov2.lvd142m",
        licence="Apache-2.0",
        input_size=224,
        dimension=448,
        megabytes=88,
        hub="timm/vit_small_patch14_dinov2.lvd142m",
    ),
    KnownModel(
        name="fastvit_mci2.apple_mclip",
        licence="apple-amlr (for research)",
        input_size=256,
        dimension=256,
        megabytes=143,
        hub="apple/mobileclip_s2_timm",
    ),
    KnownModel(
        name="Marqo/marqo-ecommerce-embeddings-B",
        licence="Apache-2.0",
        input_size=224,
        dimension=768,
        megabytes=813,
        has_text=True,
        source=EXPORTED,
    ),
)
"""The embedded ones, the default first, then others by name."""


def at_hand(model: KnownModel, cache: Path) -> AtHand:
    """What it takes to use a model on this machine.

    Args:
        model: one of those known.
        cache: folder of converted models.
    """
    from imgsearch.vision.openvino_export import is_converted

    if model.source == EXPORTED:
        return AtHand.NETWORK
    record = find_model(model.name)
    if model.name in EMBEDDED_MODELS and not _is_installed(record):
        return AtHand.PACKAGE
    if is_converted(record, cache):
        return AtHand.PREPARED
    if model.name in EMBEDDED_MODELS:
        return AtHand.INSTALLED
    if missing_packages():
        return AtHand.EXTRA
    return AtHand.DOWNLOADED if _is_downloaded(model) else AtHand.NETWORK


def _is_installed(record: ModelRecord) -> bool:
    try:
        for part in (record, *record.joined_records):
            distribution(part.weights.removeprefix(PACKAGE).partition("/")[0])
    except PackageNotFoundError:
        return False
    return True


def _is_downloaded(model: KnownModel) -> bool:
    """Whether the hub's own cache on this machine holds the weights; nobody is asked.

    huggingface_hub says where that is, but takes longer to import than all else here.
    """
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    folder = f"models--{(model.hub or '').replace('/', '--')}"
    return any(path.exists() for ending in WEIGHTS for path in cache.glob(f"{folder}/snapshots/*/*{ending}"))
