"""The perceptual hash: near for copies of a picture, far for others and for the same in other colours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter

from imgsearch.vision.picture_hash import HASH_BYTES, picture_hash

SIDE = 256
Pixels = npt.NDArray[np.uint8]


def scene(seed: int) -> Image.Image:
    """Clouds in a few colours."""
    generator = np.random.default_rng(seed)
    small = generator.uniform(0, 255, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def hashed(image: Image.Image) -> bytes:
    return picture_hash(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)))


def differing(first: bytes, second: bytes) -> int:
    return (int.from_bytes(first) ^ int.from_bytes(second)).bit_count()


@pytest.mark.parametrize("seed", range(4))
def test_copies_are_near(seed: int) -> None:
    image = scene(seed)
    cropped = image.crop((6, 6, SIDE - 6, SIDE - 6))
    for edited in (image.resize((90, 90)), image.filter(ImageFilter.GaussianBlur(1)), cropped):
        assert differing(hashed(image), hashed(edited)) <= 58


@pytest.mark.parametrize("seed", range(4))
def test_others_are_far(seed: int) -> None:
    """Another picture, and the same one in other colours; mirrored or upside down, only its structure differs."""
    image = scene(seed)
    for other in (scene(seed + 10), Image.fromarray(np.asarray(image)[..., ::-1])):
        assert differing(hashed(image), hashed(other)) > 62
    for turned in (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image.rotate(180)):
        assert differing(hashed(image), hashed(turned)) > 40


def test_it_does_not_depend_on_the_machine() -> None:
    """Stored hashes are compared with new ones for years."""
    ramp = np.arange(SIDE, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], ramp[::-1, None]), axis=-1)
    assert picture_hash(pixels).hex() == HEX
    assert len(picture_hash(pixels)) == HASH_BYTES == 32


HEX = "dba1fd9ba665536e6f198f165eaf0d9a23d4091cb84278d5ed39ae59ad16e5ed"


@pytest.mark.parametrize("level", [0, 128, 255])
def test_what_is_plain_has_a_hash(level: int) -> None:
    plain = np.full((SIDE, SIDE, 3), level, np.uint8)
    assert picture_hash(plain) == picture_hash(plain[:64, :64])
