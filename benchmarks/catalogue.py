"""Synthetic catalogues of any size, in the form that ``imgsearch import`` takes in.

Real features come in clusters of clusters: kinds of things within a category, products of a kind, pictures of a
product. So do these: a feature is the sum of a direction for each, unit vectors weighed so that two pictures of a
product have a cosine of about 0.8, two products of a kind 0.5, and two kinds of a category 0.2, which is what the
evaluation photos show. Sizes of categories and brands follow a power law.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgsearch.service.categories import CATEGORIES
from imgsearch.transfer.file_format import FEATURES_NAME, ITEMS_NAME, STAMP_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

WEIGHTS = np.sqrt(np.array([0.2, 0.3, 0.3, 0.2]))
"""Of category, kind, product and picture."""
PICTURES_PER_PRODUCT = 3
PRODUCTS_PER_KIND = 100
BRANDS = 2_000
SPREAD = 1_000_000
"""Values of IntAttr2 are even over this range, so that any selectivity can be asked for."""
CHUNK = 20_000
IDS = list(CATEGORIES)


def _unit(generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    vectors = generator.standard_normal(shape, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _shares(count: int) -> npt.NDArray[np.float64]:
    weights = 1 / np.arange(1, count + 1)
    return weights / weights.sum()


@dataclass(frozen=True)
class Piece:
    """Some pictures, column by column."""

    products: npt.NDArray[np.int64]
    categories: npt.NDArray[np.int64]
    brands: npt.NDArray[np.int64]
    spread: npt.NDArray[np.int64]
    features: npt.NDArray[np.float16]


class Catalogue:
    """The same pictures for the same size and dimension, made a piece at a time."""

    def __init__(self, size: int, dimension: int, *, seed: int = 7) -> None:
        self.size, self.dimension, self._seed = size, dimension, seed
        generator = np.random.default_rng(seed)
        self._categories = _unit(generator, (len(IDS), dimension))
        kinds = max(20, size // (PRODUCTS_PER_KIND * PICTURES_PER_PRODUCT))
        self._kinds = _unit(generator, (kinds, dimension))
        self._category_of = generator.choice(len(IDS), kinds, p=_shares(len(IDS)))

    def pieces(self) -> Iterator[Piece]:
        """All pictures, ``CHUNK`` at a time."""
        return map(self.piece, range(0, self.size, CHUNK))

    def piece(self, start: int, *, seed: int = 0) -> Piece:
        """The pictures from ``start`` on, a multiple of ``CHUNK``.

        Another seed gives other pictures of the same products, such as queries.
        """
        count = min(CHUNK, self.size - start)
        products = np.arange(start, start + count) // PICTURES_PER_PRODUCT
        # What belongs to a product must not depend on the seed of the pictures.
        own = np.random.default_rng((self._seed, start))
        size = int(products[-1] - products[0]) + 1
        vectors, kinds = _unit(own, (size, self.dimension)), own.integers(0, len(self._kinds), size)
        brands, spread = own.choice(BRANDS, size, p=_shares(BRANDS)), own.integers(0, SPREAD, count)
        place = products - products[0]
        kind = kinds[place]
        views = _unit(np.random.default_rng((self._seed, start, seed + 1)), (count, self.dimension))
        category = self._category_of[kind]
        parts = (self._categories[category], self._kinds[kind], vectors[place], views)
        features = sum(weight * part for weight, part in zip(WEIGHTS, parts, strict=True))
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        return Piece(products, np.array(IDS)[category], brands[place], spread, features.astype(np.float16))

    def queries(self, count: int) -> tuple[npt.NDArray[np.float32], list[int]]:
        """Features and categories of further pictures of products from all over the catalogue."""
        generator = np.random.default_rng(self._seed + 1)
        starts = range(0, self.size, CHUNK)
        chosen = generator.choice(len(starts), min(len(starts), 8), replace=False)
        pieces = [self.piece(starts[number], seed=1) for number in chosen.tolist()]
        features = np.concatenate([piece.features for piece in pieces]).astype(np.float32)
        categories = np.concatenate([piece.categories for piece in pieces])
        rows = generator.choice(len(features), count, replace=len(features) < count)
        return features[rows] / np.linalg.norm(features[rows], axis=1, keepdims=True), categories[rows].tolist()

    def write(self, folder: Path, stamp: dict[str, Any]) -> None:
        """Write an export of it."""
        folder.mkdir(parents=True)
        with (folder / ITEMS_NAME).open("w", encoding="utf-8") as items, (folder / FEATURES_NAME).open("wb") as rows:
            np.lib.format.write_array_header_1_0(
                rows, {"descr": "<f2", "fortran_order": False, "shape": (self.size, self.dimension)}
            )
            number = 0
            generator = np.random.default_rng(self._seed)
            for piece in self.pieces():
                hashes = generator.bytes(16 * len(piece.products))
                columns = [column.tolist() for column in (piece.products, piece.categories, piece.brands, piece.spread)]
                for place, (product, category, brand, value) in enumerate(zip(*columns, strict=True)):
                    line = {
                        "ProductId": f"p{product:07x}",
                        "PicName": f"{number % PICTURES_PER_PRODUCT}.jpg",
                        "CategoryId": category,
                        "Region": "112,711,96,688",
                        "RegionMode": "subject",
                        "ContentHash": hashes[16 * place : 16 * place + 16].hex(),
                        "IntAttr": number % 100,
                        "IntAttr2": value,
                        "StrAttr": f"brand-{brand}",
                    }
                    items.write(json.dumps(line, separators=(",", ":")) + "\n")
                    number += 1
                rows.write(piece.features.tobytes())
        (folder / STAMP_NAME).write_text(json.dumps(stamp), encoding="utf-8")
