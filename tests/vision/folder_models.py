"""Tiny models with an image tower and a text tower: what they see of a picture is its mean colour."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

if TYPE_CHECKING:
    from pathlib import Path

SIDE: Final = 32
CONTEXT: Final = 6
WORDS: Final = {"[PAD]": 0, "[UNK]": 1, "red": 2, "green": 3, "blue": 4, "shoe": 5, "a": 6}
DIMENSION: Final = 8
EMBEDDINGS: Final = np.zeros((len(WORDS), DIMENSION), np.float32)
"""Of padding they are far off, so that it shows where it counts."""
EMBEDDINGS[0] = 9
EMBEDDINGS[2:5, :3] = 2 * np.eye(3) - 1
EMBEDDINGS[5:, 7] = 0.1


def _image_graph(output: str, dimension: int) -> tuple[list[Any], list[Any], Any, Any]:
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["colours"]),
        helper.make_node("MatMul", ["colours", "projection"], [output]),
    ]
    constants = [numpy_helper.from_array(np.eye(3, dimension, dtype=np.float32), "projection")]
    pixels = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    return nodes, constants, [pixels], helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", dimension])


def _text_graph(output: str, context: int | str) -> tuple[list[Any], list[Any], Any, Any]:
    nodes = [
        helper.make_node("Gather", ["embeddings", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["weights"]),
        helper.make_node("Mul", ["each", "weights"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "middle"], [output], keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(EMBEDDINGS, "embeddings"),
        numpy_helper.from_array(np.array([-1]), "last"),
        numpy_helper.from_array(np.array([1]), "middle"),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", context])
        for name in ("input_ids", "attention_mask")
    ]
    return nodes, constants, inputs, helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", DIMENSION])


def _save(path: Path, *graphs: tuple[list[Any], list[Any], Any, Any]) -> None:
    graph = helper.make_graph(
        [node for nodes, *_ in graphs for node in nodes],
        "tiny",
        [value for _, _, inputs, _ in graphs for value in inputs],
        [output for *_, output in graphs],
        [constant for _, constants, *_ in graphs for constant in constants],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_tokenizer(path: Path) -> None:
    """One word, one token; letter case does not matter."""
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    tokenizer.save(str(path))


def write_folder_model(
    folder: Path,
    *,
    layout: tuple[str, str] = ("vision_model.onnx", "text_model.onnx"),
    outputs: tuple[str, str] = ("image_embeds", "text_embeds"),
    dimension: int = DIMENSION,
    context: int | str = CONTEXT,
    config: dict[str, Any] | None = None,
) -> Path:
    """A folder as optimum exports it.

    Args:
        folder: to make.
        layout: names of the image tower and the text tower; the same name: both in one file.
        outputs: names of their embeddings.
        dimension: of the image's.
        context: tokens of a text; a name: of any number.
        config: what ``config.json`` holds.
    """
    image, text = _image_graph(outputs[0], dimension), _text_graph(outputs[1], context)
    if layout[0] == layout[1]:
        _save(folder / layout[0], image, text)
    else:
        _save(folder / layout[0], image)
        _save(folder / layout[1], text)
    write_tokenizer(folder / "tokenizer.json")
    write_json(
        folder / "preprocessor_config.json",
        {"size": {"height": SIDE, "width": SIDE}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3},
    )
    write_json(folder / "tokenizer_config.json", {"pad_token": "[PAD]"})
    if config is not None:
        write_json(folder / "config.json", config)
    return folder


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(values), encoding="utf-8")
