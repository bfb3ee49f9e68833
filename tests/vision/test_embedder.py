"""From a network to a feature: its size, its pooling, and what is left of its numbers.

Contract (docs/models.md): a network sees its own size, a vision transformer 224 pixels at most; its head pools unless
it is a plain convolutional one; without a classifier no number is given up. Features of version 2 stay as they were.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from imgsearch.errors import InvalidModel
from imgsearch.vision.embedder import (
    pooled_for_search,
    pools_by_itself,
    projected_as_in_version_2,
    shape_of,
)
from imgsearch.vision.model_builder import assembled, import_timm, input_size, load_network
from imgsearch.vision.models import find_model

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = [[-0.051981, 0.042429, 0.001149], [0.027291, -0.024633, 0.014122]]
COLOURS = 64
"""Numbers of a colour block."""


def network(name: str, **options: Any) -> Any:
    torch.manual_seed(1)
    return import_timm().create_model(name, **options).eval()


# What is left


@pytest.mark.extended
def test_without_a_classifier_every_number_stays() -> None:
    shape = shape_of(network("resnet10t", num_classes=0), 192, 1024)
    vectors = torch.rand((3, 512))
    assert torch.allclose(shape(vectors), torch.nn.functional.normalize(vectors, dim=1))


@pytest.mark.extended
def test_a_classifier_tells_what_to_keep() -> None:
    shape = shape_of(network("resnet10t"), 192, 1024)
    assert shape(torch.rand((3, 512))).shape == (3, 192)


def test_too_many_numbers_are_refused() -> None:
    with pytest.raises(InvalidModel, match=r"512 numbers.*at most 511"):
        shape_of(network("resnet10t", num_classes=0), 192, 511)


def test_the_random_projection_of_version_2_stays() -> None:
    """Numbers of the release that made such instances."""
    shape = projected_as_in_version_2(network("resnet10t", num_classes=0), 256)
    assert shape.projection.shape == (512, 256)
    assert torch.allclose(shape.projection[:2, :3], torch.tensor(RANDOM), atol=1e-5)
    assert projected_as_in_version_2(network("test_vit", num_classes=0), 256).projection.equal(torch.eye(64))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(network("vit_tiny_patch16_384").state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.extended
def test_both_versions_of_one_network(weights: Path) -> None:
    """Version 2 knows no colours, sees the network's own size, and projects to 256 numbers at most."""
    asked = find_model("vit_tiny_patch16_384", weights)
    own, _ = load_network(asked)
    pixels = torch.randint(0, 256, (1, 384, 384, 3), dtype=torch.uint8)
    with torch.no_grad():
        planes = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        vectors = own.forward_head(own.forward_features(planes), pre_logits=True)
        expected = projected_as_in_version_2(own, 256)(vectors)
        (feature,) = assembled(replace(asked, input_size=384, feature_version=2), own)(pixels)
        assert torch.allclose(feature, expected, atol=1e-5)
        (feature,) = assembled(replace(asked, input_size=224), own)(pixels[:, :224, :224])
    assert feature.shape == (1, 192 + COLOURS)
    assert torch.linalg.norm(feature) == pytest.approx(1, abs=1e-5)


# Sizes and pooling


@pytest.mark.parametrize(
    ("name", "size"),
    [("test_vit", 160), ("vit_tiny_patch16_384", 224), ("resnet10t", 176), ("vit_tiny_patch16_224", 224)],
)
def test_sizes(name: str, size: int) -> None:
    assert input_size(network(name)) == size


@pytest.mark.extended
@pytest.mark.parametrize(
    ("name", "by_itself"),
    [("test_vit", True), ("mobilenetv3_small_050", True), ("test_mambaout", True), ("test_resnet", False)],
)
def test_who_pools(name: str, by_itself: bool) -> None:
    """A head with layers of its own before the classifier has to pool, too, as these layers follow."""
    one = network(name)
    with torch.no_grad():
        maps = one.forward_features(torch.zeros((1, 3, 160, 160)))
        assert pools_by_itself(one, maps) == by_itself
        vectors = one.forward_head(maps, pre_logits=True) if by_itself else pooled_for_search(maps)
        assert shape_of(one, 192, 1024)(vectors).shape[0] == 1
