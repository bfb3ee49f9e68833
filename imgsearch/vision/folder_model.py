"""A model in a folder: an image tower and a text tower as ONNX files, with what is to be known of their input.

Read here is what lies in the folder, as exporters write it (``docs/models.md`` lists the names); ``towers`` makes
networks of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from imgsearch.errors import InvalidModel
from imgsearch.vision.model_weights import FOLDER, file_hash
from imgsearch.vision.models import BLOCKS_SINCE, ModelRecord

__all__ = ["FolderModel", "check_files", "folder_record", "is_folder_model"]

LAYOUTS: Final = (
    ("vision_model.onnx", "text_model.onnx"),
    ("onnx/vision_model.onnx", "onnx/text_model.onnx"),
    ("visual/model.onnx", "textual/model.onnx"),
    ("model.onnx", "model.onnx"),
    ("onnx/model.onnx", "onnx/model.onnx"),
)
"""Image tower and text tower, or one file with both."""
TOKENIZERS: Final = ("tokenizer.json", "textual/tokenizer.json")
TOKENIZER_CONFIGS: Final = ("tokenizer_config.json", "textual/tokenizer_config.json")
CONFIG: Final = "config.json"
HUGGING_FACE: Final = "preprocessor_config.json"
OPEN_CLIP: Final = "open_clip_config.json"
PREPROCESSING: Final = "visual/preprocess_cfg.json"
CURVE: Final = "imgsearch.json"
"""For people to write: ``logit_scale`` and ``logit_bias`` of the model."""
SETTINGS: Final = (HUGGING_FACE, OPEN_CLIP, PREPROCESSING, CONFIG, *TOKENIZER_CONFIGS, CURVE)
INTERPOLATIONS: Final = (2, 3, "bilinear", "bicubic")
"""Close enough to how pictures are made smaller here."""
CONTEXTS: Final = {"clip": 77, "siglip": 64, "siglip2": 64}
"""Tokens that a text has, by the kind of model; exporters leave out what is usual."""

SIGLIP_CURVE: Final = (117.33, -12.93)
"""Scale and bias that ViT-B-16-SigLIP is known to have learned: its loss takes the logistic function for the chance."""
CLIP_CURVE: Final = (50.0, -13.5)
"""0.5 at cosine 0.27, 0.03 at 0.2. A choice, not a measurement: CLIP's loss compares texts, and knows no chance."""


@dataclass(frozen=True, slots=True)
class FolderModel:
    """What a folder says of its model.

    Raises:
        InvalidModel: by ``read``.
    """

    folder: Path
    image_tower: Path
    text_tower: Path
    """The same file, if it holds both."""
    tokenizer: Path
    size: int
    """Side of the pictures, in pixels."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    context: int | None
    """Tokens of a text; None: the text tower says it, or nobody does."""
    pad_token: str | None
    is_siglip: bool
    """Trained by the sigmoid loss, with texts whose padding is looked at."""
    curve: tuple[float, float]
    """Scale and bias of the chance that a text and a picture with some cosine go together."""

    @classmethod
    def read(cls, folder: Path) -> FolderModel:
        """What lies in that folder.

        Raises:
            InvalidModel: a part is missing or cannot be used.
        """
        layout = _layout(folder)
        if layout is None:
            names = "; ".join(" and ".join(dict.fromkeys(pair)) for pair in LAYOUTS)
            raise InvalidModel(f"{folder} holds no image tower with its text tower: it needs one of {names}")
        tokenizer = next((folder / name for name in TOKENIZERS if (folder / name).is_file()), None)
        if tokenizer is None:
            raise InvalidModel(f"{folder} holds no tokenizer.json, without which no text can be read")
        config = _read(folder / CONFIG)
        open_clip = _part(_read(folder / OPEN_CLIP), "model_cfg") or (config if "text_cfg" in config else {})
        kind = str(config.get("model_type", ""))
        is_siglip = kind.startswith("siglip") or open_clip.get("init_logit_bias") is not None
        context = (
            _part(config, "text_config").get("max_position_embeddings")
            or (_part(open_clip, "text_cfg").get("context_length", CONTEXTS["clip"]) if open_clip else None)
            or CONTEXTS.get(kind)
        )
        size, mean, std = _preprocessing(folder, open_clip)
        return cls(
            folder=folder,
            image_tower=folder / layout[0],
            text_tower=folder / layout[1],
            tokenizer=tokenizer,
            size=size,
            mean=mean,
            std=std,
            context=None if context is None else _whole(context, f"the context of {folder}"),
            pad_token=_pad_token(folder),
            is_siglip=is_siglip,
            curve=_curve(folder, is_siglip=is_siglip),
        )

    @property
    def files(self) -> list[Path]:
        """All that is read of the folder; weights beside an ONNX file have a name that begins with that file's."""
        towers = {
            beside
            for tower in (self.image_tower, self.text_tower)
            for beside in tower.parent.iterdir()
            if beside.name.startswith(tower.name) and beside.is_file()
        }
        settings = {self.folder / name for name in SETTINGS if (self.folder / name).is_file()}
        return sorted({*towers, *settings, self.tokenizer})


def is_folder_model(name: str) -> bool:
    """Whether a model's name is that of a folder: a path, or a folder here that holds what such a model consists of."""
    path = Path(name)
    try:
        return path.is_dir() and (os.sep in name or _layout(path) is not None)
    except OSError:
        return False  # nothing can be called that


def folder_record(folder: Path) -> ModelRecord:
    """The record of the model in a folder; what it gives is known after its conversion.

    Raises:
        InvalidModel: a part is missing or cannot be used.
    """
    path = Path(os.path.realpath(folder))
    try:
        model = FolderModel.read(path)
        files = tuple((file.relative_to(path).as_posix(), file_hash(file)) for file in model.files)
    except OSError as error:
        raise InvalidModel(f"the model in {folder} cannot be read: {error.strerror}: {error.filename}") from None
    return ModelRecord(
        name=path.name,
        architecture="onnx",
        weights=f"{FOLDER}{path}",
        weights_hash=hashlib.sha256("\n".join(f"{digest} {name}" for name, digest in files).encode()).hexdigest(),
        input_size=model.size,
        mean=model.mean,
        std=model.std,
        files=files,
        text_curve=model.curve,
        feature_version=BLOCKS_SINCE,  # what came later is a matter of colour blocks, which it has none of
    )


def check_files(record: ModelRecord) -> Path:
    """The folder of a model, in which all is as it was.

    Raises:
        InvalidModel: a file is missing or altered.
    """
    folder = Path(record.weights.removeprefix(FOLDER))
    for name, digest in record.files:
        try:
            found = file_hash(folder / name)
        except OSError as error:
            raise InvalidModel(f"{folder / name} of the model {record.name} cannot be read: {error.strerror}") from None
        if found != digest:
            raise InvalidModel(f"{folder / name} is not that of the model {record.name}: its SHA-256 is {found}")
    return folder


def _layout(folder: Path) -> tuple[str, str] | None:
    return next((pair for pair in LAYOUTS if all((folder / name).is_file() for name in pair)), None)


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise InvalidModel(f"{path} is not a JSON object")
    return values


def _part(values: dict[str, Any], name: str) -> dict[str, Any]:
    part = values.get(name)
    return part if isinstance(part, dict) else {}


def _whole(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 4096:
        raise InvalidModel(f"{what} is {value!r}, not a whole number of 1 to 4096")
    return value


def _preprocessing(
    folder: Path, open_clip: dict[str, Any]
) -> tuple[int, tuple[float, float, float], tuple[float, float, float]]:
    """Side in pixels, mean and deviation of RGB values in 0..1."""
    if values := _read(path := folder / HUGGING_FACE):
        names = ("crop_size", "size") if values.get("do_center_crop", "crop_size" in values) else ("size",)
        size = next((values[name] for name in names if name in values), None)
        interpolation = values.get("resample", 3)
        mean, std = values.get("image_mean"), values.get("image_std")
        if values.get("do_normalize") is False:
            mean, std = (0, 0, 0), (1, 1, 1)
        if values.get("do_rescale") is False or abs(values.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-6:
            raise InvalidModel(f"{path} asks for values that are not in 0..1 before they are normalised")
    elif values := _part(_read(path := folder / OPEN_CLIP), "preprocess_cfg") or _read(path := folder / PREPROCESSING):
        size = values.get("size") or _part(open_clip, "vision_cfg").get("image_size")
        interpolation = values.get("interpolation", "bicubic")
        mean, std = values.get("mean"), values.get("std")
    else:
        raise InvalidModel(
            f"{folder} holds no {HUGGING_FACE} and no {OPEN_CLIP}, which say what pictures it is fed with"
        )
    if interpolation not in INTERPOLATIONS:
        raise InvalidModel(f"{path} asks for the interpolation {interpolation!r}; known are bilinear and bicubic")
    return _side(size, path), _colour(mean, path, "mean"), _colour(std, path, "deviation", least=1e-3)


def _side(size: object, path: Path) -> int:
    if isinstance(size, dict):
        size = [size[name] for name in ("height", "width", "shortest_edge") if name in size]
    sides = set(size) if isinstance(size, list) else {size}
    if len(sides) != 1:
        raise InvalidModel(f"{path} asks for pictures of {size}; only squares can be made")
    return _whole(sides.pop(), f"the side of pictures in {path}")


def _colour(values: Any, path: Path, what: str, least: float = -1e3) -> tuple[float, float, float]:
    if (
        not isinstance(values, list | tuple)
        or len(values) != 3
        or not all(isinstance(value, int | float) and least <= value <= 1e3 for value in values)
    ):
        raise InvalidModel(f"the {what} in {path} is {values!r}, not three numbers")
    red, green, blue = map(float, values)
    return red, green, blue


def _pad_token(folder: Path) -> str | None:
    for name in TOKENIZER_CONFIGS:
        token = _read(folder / name).get("pad_token")
        if token is not None:
            return str(token["content"] if isinstance(token, dict) and "content" in token else token)
    return None


def _curve(folder: Path, *, is_siglip: bool) -> tuple[float, float]:
    values = _read(path := folder / CURVE)
    if not values:
        return SIGLIP_CURVE if is_siglip else CLIP_CURVE
    scale, bias = values.get("logit_scale"), values.get("logit_bias")
    if not isinstance(scale, int | float) or not isinstance(bias, int | float) or not 0 < scale <= 1e4:
        raise InvalidModel(f"{path} needs the numbers logit_scale, above 0, and logit_bias")
    return float(scale), float(bias)
