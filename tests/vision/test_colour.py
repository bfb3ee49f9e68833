"""The colour block: colours of the subject as people see them, whatever lies around it, the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imgsearch.vision.colour import CHROMA_BINS, LIGHTNESS_BINS, ColourBlock, colour_histogram, exposed, lab
from imgsearch.vision.embedder import ProjectedShape
from imgsearch.vision.trained_weights import COLOUR, load_parameters

RED, GREEN, WHITE = (200, 30, 30), (30, 160, 60), (245, 245, 245)


def pictured(subject: tuple[int, int, int], background: tuple[int, int, int], side: int = 128) -> torch.Tensor:
    """A square in the middle of a picture; shape (1, 3, side, side)."""
    pixels = np.full((side, side, 3), background, np.float32)
    pixels[side // 4 : -side // 4, side // 4 : -side // 4] = subject
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def block(pixels: torch.Tensor, *, normalises_exposure: bool = True) -> torch.Tensor:
    return ColourBlock(load_parameters(COLOUR), normalises_exposure=normalises_exposure)(pixels)[0]


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0.0, 0.0)),
    ],
)
def test_lab_of_known_colours(rgb: tuple[int, int, int], expected: tuple[float, float, float]) -> None:
    """CIE L*a*b* under D65, as tables of sRGB have it."""
    planes = torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1) / 255
    assert lab(planes).flatten().tolist() == pytest.approx(expected, abs=0.05)


def test_a_histogram_is_one_of_shares() -> None:
    """The squares add up to 1, none is negative, and a grey picture has grey bins only."""
    noise = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (2, 3, 90, 70)).astype(np.float32))
    for histogram in colour_histogram(noise):
        assert histogram.shape == (LIGHTNESS_BINS * CHROMA_BINS**2,)
        assert histogram.square().sum().item() == pytest.approx(1, abs=1e-5)
        assert histogram.min() >= 0
    grey = colour_histogram(torch.full((1, 3, 64, 64), 119.0))[0].view(LIGHTNESS_BINS, CHROMA_BINS, CHROMA_BINS)
    middle = CHROMA_BINS // 2
    assert grey[:, middle, middle].square().sum().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("normalises_exposure", "least"), [(True, 0.55), (False, 0.8)])
def test_the_subject_counts_and_not_its_background(normalises_exposure: bool, least: float) -> None:
    """Red on white is nearer to red on grey, which is taken for a darker picture, than to green on white."""
    pairs = ((RED, WHITE), (RED, (150, 150, 150)), (GREEN, WHITE))
    red, other, green = (block(pictured(*pair), normalises_exposure=normalises_exposure) for pair in pairs)
    assert red @ other > least > 0.3 > red @ green


def test_a_mirrored_picture_has_the_same_block() -> None:
    red = block(pictured(RED, WHITE))
    assert block(torch.flip(pictured(RED, WHITE), dims=[3])) @ red == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("factor", [0.9, 0.5, 0.4])
@pytest.mark.parametrize("background", [WHITE, (150, 150, 150), (20, 40, 90)])
def test_a_darker_copy_has_the_same_block(background: tuple[int, int, int], factor: float) -> None:
    """Its values are rounded as those of a file; without normalised exposure the copy looks like another thing."""
    picture = pictured(RED, background)
    copy = (picture * factor).round()
    assert block(picture) @ block(copy) > 0.98
    if factor == 0.5:
        before = (block(one, normalises_exposure=False) for one in (picture, copy))
        assert next(before) @ next(before) < 0.5


def test_exposure_is_that_of_the_brightest_place() -> None:
    """What has white in it stays as it is, hues stay as they are, and black does not become grey noise."""
    dark = torch.full((1, 3, 64, 64), 0.2)
    dark[:, 0] = 0.4
    assert torch.allclose(exposed(dark)[0, :, 0, 0], torch.tensor([1.0, 0.5, 0.5]))
    white = dark.clone()
    white[:, :, 0, 0] = 1.0
    assert torch.equal(exposed(white), white)
    night = torch.full((1, 3, 64, 64), 0.01)
    assert torch.allclose(exposed(night), torch.tensor(0.04))


def test_pictures_of_a_batch_are_exposed_each_by_itself() -> None:
    bright, dark = (torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(1)) * part for part in (1, 0.3))
    both = exposed(torch.cat([bright, dark]))
    assert torch.equal(both, torch.cat([exposed(bright), exposed(dark)]))
    assert torch.allclose(both[0], both[1], atol=1e-5)


def test_size_does_not_matter_and_the_block_has_length_one() -> None:
    small, large = (block(pictured(RED, WHITE, side)) for side in (96, 260))
    assert small.norm().item() == pytest.approx(1, abs=1e-5)
    assert small @ large > 0.99


def test_a_picture_of_one_colour_has_a_block() -> None:
    """Nothing differs from the border then, and nothing becomes infinite."""
    for value in (0.0, 255.0):
        assert torch.isfinite(block(torch.full((1, 3, 64, 64), value))).all()


def test_projections_in_bytes_are_those_that_they_stand_for() -> None:
    """Whole numbers with a scale for each column, or numbers as they are."""
    generator = np.random.default_rng(1)
    projection, vectors = generator.standard_normal((40, 8)), generator.standard_normal((5, 40))
    scale = np.abs(projection).max(axis=0) / 127
    origin = np.zeros(40, np.float32)
    exact = ProjectedShape.of({"projection": projection.astype(np.float32), "origin": origin})
    numbers = np.round(projection / scale).astype(np.int8)
    in_bytes = ProjectedShape.of(
        {"x_projection": numbers, "x_origin": origin, "x_scale": scale.astype(np.float32)}, "x_"
    )
    given = torch.from_numpy(vectors.astype(np.float32))
    assert (exact(given) * in_bytes(given)).sum(dim=1).min() > 0.9995
