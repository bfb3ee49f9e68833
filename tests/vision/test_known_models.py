"""The list of models is true: what is embedded is in it as it is, what is told as at hand is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from imgsearch.vision import known_models
from imgsearch.vision.known_models import KNOWN_MODELS, AtHand, KnownModel, at_hand
from imgsearch.vision.model_weights import weights_file
from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS, find_model
from imgsearch.vision.openvino_export import converted_model

if TYPE_CHECKING:
    from pathlib import Path

BY_NAME = {model.name: model for model in KNOWN_MODELS}
OTHERS = [model for model in KNOWN_MODELS if model.name not in EMBEDDED_MODELS]


def test_every_embedded_model_is_listed_with_its_figures() -> None:
    assert set(EMBEDDED_MODELS) <= set(BY_NAME)
    assert [model.name for model in KNOWN_MODELS if model.is_default] == [DEFAULT_MODEL] == [KNOWN_MODELS[0].name]
    for name, record in EMBEDDED_MODELS.items():
        model = BY_NAME[name]
        assert (model.dimension, model.input_size, model.licence) == (
            record.dimension,
            record.input_size,
            record.licence,
        )
        assert model.figures is not None
        assert 0.5 < model.figures.hit1 < 1
        assert 0.5 < model.figures.mean_average_precision < 1
        paths = [weights_file(part) for part in (record, *record.joined_records)]
        assert model.megabytes == round(sum(path.stat().st_size for path in paths if path is not None) / 1e6)
    assert BY_NAME[DEFAULT_MODEL].figures is not None
    assert BY_NAME[DEFAULT_MODEL].figures.speed == 1


@pytest.mark.parametrize("model", OTHERS, ids=lambda model: model.name)
def test_others_are_not_told_as_measured(model: KnownModel) -> None:
    assert model.figures is None
    assert model.licence


@pytest.mark.extended
def test_timm_knows_the_others_as_they_are_listed() -> None:
    """Their size and what they give are those that a conversion would find."""
    from imgsearch.vision.model_builder import MAX_FEATURE_DIMENSION, import_timm, input_size
    from imgsearch.vision.trained_weights import COLOUR, load_parameters

    colours = load_parameters(COLOUR)["projection"].shape[1]
    for model in OTHERS:
        if model.has_text:
            continue
        with torch.device("meta"):  # shapes alone: drawing a hundred million numbers takes its time
            network = import_timm().create_model(model.name)
        own = MAX_FEATURE_DIMENSION - colours if network.num_classes else network.num_features
        assert model.dimension == own + colours, model.name
        assert model.input_size == input_size(network)
        assert model.megabytes == round(sum(one.numel() for one in network.parameters()) * 4 / 1e6)


def test_what_is_at_hand(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = BY_NAME[DEFAULT_MODEL]
    assert at_hand(default, tmp_path) is AtHand.INSTALLED
    converted_model(find_model(DEFAULT_MODEL), cache)
    assert at_hand(default, cache) is AtHand.PREPARED
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    other = BY_NAME["vit_small_patch14_dinov2.lvd142m"]
    assert at_hand(other, cache) is AtHand.NETWORK
    snapshot = tmp_path / "hub" / "models--timm--vit_small_patch14_dinov2.lvd142m" / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"")
    assert at_hand(other, cache) is AtHand.DOWNLOADED
    assert at_hand(BY_NAME["Marqo/marqo-ecommerce-embeddings-B"], cache) is AtHand.NETWORK


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise known_models.PackageNotFoundError(name)

    monkeypatch.setattr(known_models, "distribution", nothing)
    assert at_hand(BY_NAME[DEFAULT_MODEL], tmp_path) is AtHand.PACKAGE
