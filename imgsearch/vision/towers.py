"""The towers of a model in a folder, made ready for OpenVINO: pixels or tokens in, an embedding out.

This runs in the converting process. OpenVINO reads ONNX by itself, so neither torch nor ONNX's own packages are needed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import InvalidModel
from imgsearch.vision.folder_model import FolderModel
from imgsearch.vision.model_weights import weights_file
from imgsearch.vision.openvino_compat import load_openvino

if TYPE_CHECKING:
    from pathlib import Path

    from imgsearch.vision.models import ModelRecord

__all__ = ["MAX_DIMENSION", "convert_towers"]

MAX_DIMENSION: Final = 1024
"""Of an embedding: 2 KB a picture as it is stored."""
IMAGE_OUTPUTS: Final = ("image_embeds", "image_features", "pooler_output")
TEXT_OUTPUTS: Final = ("text_embeds", "text_features", "pooler_output")
"""In this order; a tower that has none of them has a single output of two axes."""


def convert_towers(record: ModelRecord, image: Path, text: Path, tokenizer: Path) -> ModelRecord:
    """Convert both towers and the tokenizer; return the complete record.

    Args:
        record: of a model in a folder.
        image: file to write, for uint8 pixels of shape (1, size, size, 3).
        text: file to write, for int64 tokens of shape (1, 2, context): their ids, and 1 where
            there is one, 0 where there is padding.
        tokenizer: file to write: the folder's, which cuts and pads to the context.

    Raises:
        InvalidModel
    """
    folder = weights_file(record)
    assert folder is not None
    model = FolderModel.read(folder)
    core = load_openvino().Core()
    both = model.image_tower == model.text_tower
    pixels = _tower(core, model.image_tower, IMAGE_OUTPUTS, named=both)
    words = _tower(core, model.text_tower, TEXT_OUTPUTS, named=both)
    try:
        pixels = _fed_with_pixels(pixels, model)
    except RuntimeError as error:
        raise InvalidModel(
            f"{model.image_tower} takes no pictures of {model.size} x {model.size} pixels: {_first_line(error)}"
        ) from None
    words, context = _fed_with_tokens(words, model)
    dimension, of_text = (_dimension(one, path) for one, path in ((pixels, image), (words, text)))
    if dimension != of_text:
        raise InvalidModel(
            f"{model.image_tower} gives {dimension} numbers and {model.text_tower} {of_text}, so they cannot be "
            "compared: export both with their projections (image_embeds and text_embeds)"
        )
    if dimension > MAX_DIMENSION:
        raise InvalidModel(f"{model.image_tower} gives {dimension} numbers; at most {MAX_DIMENSION} are kept")
    openvino = load_openvino()
    openvino.save_model(pixels, image, compress_to_fp16=True)
    openvino.save_model(words, text, compress_to_fp16=True)
    tokenizer.write_text(json.dumps(_padded(model, context), ensure_ascii=False), encoding="utf-8")
    return replace(record, dimension=dimension)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _tower(core: Any, path: Path, outputs: tuple[str, ...], *, named: bool) -> Any:
    """The part of an ONNX file that leads to an embedding.

    Args:
        core: of OpenVINO.
        path: of the file.
        outputs: what the embedding may be called.
        named: it must be called so.
    """
    openvino = load_openvino()
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        raise InvalidModel(f"{path} cannot be read as ONNX: {_first_line(error)}") from None
    known = {name: output for output in model.outputs for name in output.get_names()}
    flat = [output for output in model.outputs if output.partial_shape.rank == openvino.Dimension(2)]
    found = next((known[name] for name in outputs if name in known), None)
    if found is None and not named and len(flat) == 1:
        found = flat[0]
    if found is None:
        raise InvalidModel(f"{path} gives {', '.join(sorted(known))}; an embedding would be {' or '.join(outputs)}")
    source = found.get_node().input_value(0)
    return openvino.Model([source], _parameters(source.get_node()))


def _parameters(end: Any) -> list[Any]:
    """The inputs that lead to a node."""
    nodes, waiting = {end.get_name(): end}, [end]
    while waiting:
        for value in waiting.pop().input_values():
            node = value.get_node()
            if node.get_name() not in nodes:
                nodes[node.get_name()] = node
                waiting.append(node)
    return [node for node in nodes.values() if node.get_type_name() == "Parameter"]


def _fed_with_pixels(model: Any, about: FolderModel) -> Any:
    """With normalisation in front."""
    from openvino import Layout, Type
    from openvino.preprocess import PrePostProcessor

    if len(model.inputs) != 1:
        raise InvalidModel(f"{about.image_tower} takes {len(model.inputs)} inputs; a picture is one")
    model.reshape({model.inputs[0]: [1, 3, about.size, about.size]})
    process = PrePostProcessor(model)
    process.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    process.input().model().set_layout(Layout("NCHW"))
    mean, std = ([255 * value for value in values] for values in (about.mean, about.std))
    process.input().preprocess().convert_element_type(Type.f32).mean(mean).scale(std)
    return process.build()


def _fed_with_tokens(model: Any, about: FolderModel) -> tuple[Any, int]:
    """With ids and mask in one input; and how many tokens a text has."""
    import numpy as np
    import openvino
    from openvino import opset13

    lengths = [one.partial_shape[1] for one in model.inputs if one.partial_shape.rank == openvino.Dimension(2)]
    context = next((length.get_length() for length in lengths if length.is_static), about.context)
    if context is None:
        raise InvalidModel(
            f"{about.text_tower} takes texts of any length, and nothing in {about.folder} says how long they are: "
            "add its config.json, with text_config.max_position_embeddings"
        )
    tokens = opset13.parameter([1, 2, context], np.int64, name="tokens")
    for parameter in model.get_parameters():
        name = parameter.get_friendly_name()
        if "position" in name:
            row = opset13.constant(np.arange(context, dtype=np.int64)[np.newaxis])
        elif "mask" in name and about.is_siglip:
            row = opset13.constant(np.ones((1, context), np.int64))
        elif "mask" in name or name in ("input_ids", "input", "text", "tokens") or len(model.inputs) == 1:
            row = opset13.gather(tokens, opset13.constant(int("mask" in name)), opset13.constant(1))
        else:
            raise InvalidModel(f"{about.text_tower} takes {name}, which imgsearch does not know")
        converted = opset13.convert(row, parameter.get_element_type().get_type_name())
        for target in parameter.output(0).get_target_inputs():
            target.replace_source_output(converted.output(0))
    return openvino.Model([model.outputs[0].get_node().input_value(0)], [tokens]), context


def _dimension(model: Any, path: Path) -> int:
    shape = model.outputs[0].partial_shape
    if len(shape) != 2 or not shape[1].is_static:
        raise InvalidModel(f"the embedding in {path} has the shape {shape}, not one row of numbers")
    return int(shape[1].get_length())


def _padded(model: FolderModel, context: int) -> dict[str, Any]:
    """The tokenizer's own description, with texts of that length."""
    try:
        described = json.loads(model.tokenizer.read_text(encoding="utf-8"))
        own = described.get("padding") or {}
        added = {token["content"]: token["id"] for token in described.get("added_tokens", [])}
        vocabulary = described["model"]["vocab"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidModel(f"{model.tokenizer} is not a tokenizer's description: {error!r}") from None
    if isinstance(vocabulary, dict):
        added = {**vocabulary, **added}
    token = model.pad_token or own.get("pad_token")
    number = added.get(token, own.get("pad_id", 0))
    described["truncation"] = {"direction": "Right", "max_length": context, "strategy": "LongestFirst", "stride": 0}
    described["padding"] = {
        "strategy": {"Fixed": context},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": number,
        "pad_type_id": 0,
        "pad_token": token or "",
    }
    return dict(described)
