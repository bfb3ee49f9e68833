"""Models in folders: an image tower and a text tower as ONNX files, whose embeddings can be compared.

Contract (docs/models.md): which names are read; pictures and texts go in as the files beside say; a part that is
missing, altered or does not fit is an ``InvalidModel`` that names the file and says why, in one line.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from imgsearch.errors import InvalidModel
from imgsearch.vision.folder_model import CLIP_CURVE, LAYOUTS, SIGLIP_CURVE
from imgsearch.vision.model_weights import HUB, weights_file
from imgsearch.vision.models import ModelRecord, find_model
from imgsearch.vision.openvino_export import ConvertedModel, convert, converted_model
from imgsearch.vision.runtime import Network
from imgsearch.vision.textual import TextEncoder
from tests.vision.folder_models import CONTEXT, DIMENSION, SIDE, write_folder_model, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder_model(tmp_path / "tiny")


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


def made(folder: Path, target: Path) -> ConvertedModel:
    """Converted in this process: none of torch's weight is needed for it."""
    target.mkdir()
    convert(find_model(str(folder)), target)
    model = ConvertedModel.load(target)
    assert model is not None
    return model


def similarities(model: ConvertedModel, cache: Path) -> np.ndarray:
    """Of each colour's word to a picture of each colour."""
    network, encoder = Network(model, cache, parallel=False), TextEncoder(model)
    pictures = np.stack([network.embed(plain(colour))[0] for colour in COLOURS.values()])
    words = np.stack([encoder(f"a {word} shoe")[0] for word in COLOURS])
    for features in (pictures, words):
        assert features.shape == (len(COLOURS), DIMENSION)
        assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-6)
    return words @ pictures.T


# What comes out


@pytest.mark.parametrize("layout", LAYOUTS, ids=map(str, LAYOUTS))
def test_words_find_their_pictures(layout: tuple[str, str], tmp_path: Path, cache: Path) -> None:
    model = made(write_folder_model(tmp_path / "tiny", layout=layout), tmp_path / "made")
    found = similarities(model, cache)
    assert np.allclose(np.diag(found), 1, atol=0.02)
    assert (found - np.eye(len(COLOURS)) < 0).all(), "other colours lie on the other side"


def test_the_record_is_complete(folder: Path, cache: Path) -> None:
    asked = find_model(str(folder))
    record = converted_model(asked, cache).record
    assert record == replace(asked, dimension=DIMENSION)
    assert (record.name, record.weights) == ("tiny", f"folder:{folder}")
    assert (record.input_size, record.mean, record.std) == (SIDE, (0.5,) * 3, (0.5,) * 3)
    assert {name for name, _ in record.files} == {path.name for path in folder.iterdir()}
    assert not record.has_colour, "a text has no colours to compare"
    assert record.stamp()["projection"] == "none"
    assert ModelRecord.from_dict(json.loads(json.dumps(record.as_dict()))) == record
    assert converted_model(find_model(str(folder)), cache).record == record


def test_torch_is_not_needed(folder: Path, tmp_path: Path) -> None:
    before = set(sys.modules)
    made(folder, tmp_path / "made")
    assert not {name for name in set(sys.modules) - before if name.startswith(("torch", "timm", "onnxruntime"))}


def test_normalisation_is_that_of_the_folder(folder: Path, tmp_path: Path, cache: Path) -> None:
    """A picture of the mean colour is nothing but the deviation from it."""
    write_json(
        folder / "preprocessor_config.json",
        {"size": SIDE, "image_mean": [0.2, 0.4, 0.6], "image_std": [0.1, 0.2, 0.4]},
    )
    network = Network(made(folder, tmp_path / "made"), cache, parallel=False)
    feature, evidence = network.embed(plain((51, 102, 255)))
    assert np.allclose(feature[:3], (0, 0, 1), atol=0.01)
    assert evidence is None


# Texts


def test_case_is_the_tokenizers_business(folder: Path, tmp_path: Path, cache: Path) -> None:
    encoder = TextEncoder(made(folder, tmp_path / "made"))
    assert np.array_equal(encoder("RED")[0], encoder("red")[0])


def test_a_text_that_is_too_long_says_so(folder: Path, tmp_path: Path, cache: Path) -> None:
    encoder = TextEncoder(made(folder, tmp_path / "made"))
    assert not encoder("a " * CONTEXT)[1]
    feature, is_cut = encoder("red " * CONTEXT + "blue " * CONTEXT)
    assert is_cut
    assert np.allclose(feature, encoder("red")[0], atol=1e-3)


def test_the_length_of_a_text_may_stand_in_the_configuration(tmp_path: Path, cache: Path) -> None:
    config = {"model_type": "clip", "text_config": {"max_position_embeddings": 9}}
    model = made(write_folder_model(tmp_path / "tiny", context="length", config=config), tmp_path / "made")
    described = json.loads(model.tokenizer_path.read_text())
    assert described["truncation"]["max_length"] == 9
    assert described["padding"]["pad_id"] == 0
    assert np.allclose(np.diag(similarities(model, cache)), 1, atol=0.02)


def test_a_missing_tokenizers_package_is_named(
    folder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(folder, tmp_path / "made")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InvalidModel, match=r"pip install 'imgsearch-local\[text\]'"):
        TextEncoder(model)


# Score


@pytest.mark.parametrize(
    ("config", "curve"),
    [
        (None, CLIP_CURVE),
        ({"model_type": "clip"}, CLIP_CURVE),
        ({"model_type": "siglip"}, SIGLIP_CURVE),
        ({"text_cfg": {"context_length": 64}, "init_logit_bias": -10}, SIGLIP_CURVE),
    ],
)
def test_the_curve_of_a_kind(tmp_path: Path, config: dict[str, Any] | None, curve: tuple[float, float]) -> None:
    assert find_model(str(write_folder_model(tmp_path / "tiny", config=config))).text_curve == curve


def test_the_curve_of_the_folder(folder: Path) -> None:
    write_json(folder / "imgsearch.json", {"logit_scale": 100, "logit_bias": -9.5})
    assert find_model(str(folder)).text_curve == (100, -9.5)
    write_json(folder / "imgsearch.json", {"logit_scale": 0, "logit_bias": -9.5})
    with pytest.raises(InvalidModel, match=r"imgsearch\.json needs"):
        find_model(str(folder))


# Names


def test_names_of_timm_are_not_taken_for_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet50").mkdir()
    assert find_model("resnet50").weights == HUB
    write_folder_model(tmp_path / "clip")
    write_folder_model(tmp_path / "efficientnet-lite2")
    assert find_model("clip").is_folder
    assert not find_model("efficientnet-lite2").is_folder
    assert find_model("./efficientnet-lite2").score_curve != find_model("efficientnet-lite2").score_curve


def test_open_clips_configuration(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    described = {
        "model_cfg": {"vision_cfg": {"image_size": SIDE}, "text_cfg": {"context_length": 9}},
        "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic"},
    }
    write_json(folder / "open_clip_config.json", described)
    record = find_model(str(folder))
    assert (record.input_size, record.mean, record.std) == (SIDE, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


# What is wrong with a folder


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def preprocessing(**values: Any) -> Callable[[Path], object]:
    usual = {"size": SIDE, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return lambda folder: write_json(folder / "preprocessor_config.json", usual | values)


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no text tower": (without("text_model.onnx"), "no image tower with its text tower"),
    "no tokenizer": (without("tokenizer.json"), "no tokenizer.json"),
    "no preprocessing": (without("preprocessor_config.json"), r"no preprocessor_config\.json"),
    "not JSON": (lambda folder: (folder / "preprocessor_config.json").write_text("{"), "is not JSON"),
    "lists in lists": (lambda folder: (folder / "preprocessor_config.json").write_text("[" * 9_000), "is not JSON"),
    "a list": (lambda folder: (folder / "preprocessor_config.json").write_text("[1]"), "is not a JSON object"),
    "no square": (preprocessing(size={"height": 32, "width": 64}), "only squares"),
    "no size": (preprocessing(size=None), "side of pictures"),
    "no mean": (preprocessing(image_mean=None), "mean"),
    "deviation of nothing": (preprocessing(image_std=[0, 1, 1]), "deviation"),
    "nearest pixels": (preprocessing(resample=0), "interpolation 0"),
    "values of bytes": (preprocessing(rescale_factor=1), r"not in 0\.\.1"),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_folders_that_cannot_be_read(fault: str, folder: Path) -> None:
    change, said = UNREADABLE[fault]
    change(folder)
    with pytest.raises(InvalidModel, match=said) as caught:
        find_model(str(folder))
    assert str(folder) in caught.value.message
    assert "\n" not in caught.value.message


def garbage(folder: Path) -> None:
    (folder / "vision_model.onnx").write_bytes(b"not a graph " * 100)


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage": (garbage, r"vision_model\.onnx cannot be read as ONNX"),
    "other dimensions": (lambda folder: write_folder_model(folder, dimension=7), "gives 7 numbers and .* 8"),
    "any length": (lambda folder: write_folder_model(folder, context="length"), "how long they are"),
    "no embedding": (
        lambda folder: write_folder_model(folder, layout=("model.onnx", "model.onnx"), outputs=("logits", "others")),
        "an embedding would be image_embeds",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "not a tokenizer's description"),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_towers_that_do_not_fit(fault: str, folder: Path, tmp_path: Path) -> None:
    change, said = UNUSABLE[fault]
    if fault == "no embedding":
        (folder / "text_model.onnx").unlink()
    change(folder)
    (tmp_path / "made").mkdir()
    with pytest.raises(InvalidModel, match=said) as caught:
        convert(find_model(str(folder)), tmp_path / "made")
    assert "\n" not in caught.value.message


def test_altered_and_missing_files_are_told(folder: Path) -> None:
    record = find_model(str(folder))
    assert weights_file(record) == folder
    (folder / "vision_model.onnx.data").write_bytes(b"weights beside")
    assert find_model(str(folder)).weights_hash != record.weights_hash
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InvalidModel, match=r"tokenizer\.json is not that of the model tiny"):
        weights_file(record)
    path.unlink()
    with pytest.raises(InvalidModel, match=r"tokenizer\.json of the model tiny cannot be read"):
        weights_file(record)


def test_a_folder_takes_no_weights(folder: Path) -> None:
    with pytest.raises(InvalidModel, match="leave out --weights"):
        find_model(str(folder), folder / "vision_model.onnx")
