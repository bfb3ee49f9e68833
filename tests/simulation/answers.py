"""What an instance must answer in a state, by brute force over all its items."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from imgsearch.search import layers, ranking
from imgsearch.search.options import SearchOptions, SearchResult
from imgsearch.search.ranking import Ranking
from imgsearch.search.siblings import ranking_weights
from imgsearch.values import Key, Region
from tests.simulation.given import DIMENSION, RECORD, feature_of
from tests.storage.builders import Features
from tests.storage.known import MEANINGS, State

__all__ = ["UNDECIDED", "Asked", "Expected"]

UNDECIDED: Final = "rounding decides"
"""Of an answer that is not compared."""
NEAR = 2e-5
"""Similarities that are nearer to each other than that may be rounded into another order."""
WEIGHTS = ranking_weights(RECORD.feature_version)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """One search: a feature, and what of it is said beside the options."""

    feature: Features
    number: int | None
    """What the query picture shows; None: the query is a bare feature, which is identical to nothing."""
    region: Region | None
    categories: tuple[int, ...]
    """Empty: all."""
    options: SearchOptions


class Expected:
    """The answers in one state; what does not depend on the query is computed once."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.keys = list(state.items)
        self.known = list(state.items.values())
        self.ids = np.array([known.id for known in self.known], np.int64)
        self.numbers = np.array([known.number for known in self.known], np.int64)
        self.categories = np.array([known.category for known in self.known], np.int64)
        self._masks: dict[str, npt.NDArray[np.bool_]] = {}

    @cached_property
    def features(self) -> Floats:
        """Of all items, shape (n, dimension)."""
        rows = [feature_of(known.number, known.region) for known in self.known]
        return np.array(rows, np.float64).reshape(len(rows), DIMENSION)

    @cached_property
    def groups(self) -> npt.NDArray[np.int64]:
        """The number of each item's product."""
        names = {name: number for number, name in enumerate(dict.fromkeys(key.product_id for key in self.keys))}
        return np.array([names[key.product_id] for key in self.keys], np.int64)

    @cached_property
    def _weights(self) -> Floats:
        """How much each item (column) counts as a sibling of each other one (row)."""
        weights = np.exp(WEIGHTS.sharpness * (self.features @ self.features.T))
        weights[self.groups[:, None] != self.groups[None]] = 0.0
        np.fill_diagonal(weights, 0.0)
        return weights

    def _joint(self, lending: npt.NDArray[np.bool_]) -> Floats:
        """Each item's feature with its siblings', of length 1; shape (n, dimension)."""
        weights = self._weights * lending[None]
        total = weights.sum(axis=1)
        means = weights @ self.features / np.where(total > 0, total, 1.0)[:, None]
        joint = self.features + WEIGHTS.sibling * means
        lengths = np.linalg.norm(joint, axis=1)
        joint = np.where(((total > 0) & (lengths >= 1e-3))[:, None], joint / lengths[:, None], self.features)
        result: Floats = joint
        return result

    def _shares(self, lending: npt.NDArray[np.bool_]) -> Floats:
        """How far each item is lifted to the best of its product."""
        size = int(self.groups.max()) + 1
        counts = np.bincount(self.groups[lending], minlength=size)
        sums = np.zeros((size, DIMENSION))
        np.add.at(sums, self.groups[lending], self.features[lending])
        pairs = counts * (counts - 1)
        means = ((sums * sums).sum(axis=1) - counts) / np.maximum(pairs, 1)
        shares = np.where(counts >= 2, WEIGHTS.lift * np.clip((means - 0.03) / 0.07, 0.0, 1.0), 0.0)
        result: Floats = shares[self.groups]
        return result

    @cached_property
    def _with_all(self) -> tuple[Floats, Floats]:
        everything = np.ones(len(self.keys), bool)
        return self._joint(everything), self._shares(everything)

    def meeting(self, expression: str | None) -> npt.NDArray[np.bool_]:
        """Which items meet a filter."""
        name = expression or ""
        if name not in self._masks:
            meets = (lambda _: True) if expression is None else MEANINGS[expression]
            self._masks[name] = np.array([meets(known.attributes) for known in self.known], bool)
        return self._masks[name]

    def matching(self, asked: Asked) -> npt.NDArray[np.bool_]:
        """Which items may be found."""
        mask = self.meeting(asked.options.filter)
        if asked.categories:
            mask = mask & np.isin(self.categories, asked.categories)
        result: npt.NDArray[np.bool_] = mask
        return result

    def _same(self, asked: Asked) -> npt.NDArray[np.bool_]:
        if asked.number is None:
            return np.zeros(len(self.keys), bool)
        same: npt.NDArray[np.bool_] = self.numbers == asked.number
        if asked.region is not None:
            same &= np.array([known.region == asked.region for known in self.known], bool)
        return same

    def fault(self, asked: Asked, result: SearchResult | Ranking) -> str | None:
        """What is wrong with an answer; None: nothing, it is that of this state; UNDECIDED where rounding decides."""
        if not self.keys:
            return None if not result.hits and not result.found else "found something where nothing is"
        options, same, matching = asked.options, self._same(asked), self.matching(asked)
        if result.found != int(matching.sum()):
            return f"found {result.found} instead of {int(matching.sum())}"
        ranked: list[int] = []
        nearness, scores = np.zeros(len(self.keys)), np.zeros(len(self.keys))
        rivals: tuple[float, float] | None = None
        left_out = same if options.exclude_self else np.zeros(len(same), bool)
        for found in self._layers(asked, same, matching):
            if found is None:
                return UNDECIDED
            layer, alone = found
            near, ties = self._nearness(asked, same, layer, alone, left_out)
            rivals = rivals or self._rivals(near, layer & ~same)
            of_layer = self._scores(near, same, rivals)
            # Without a least Score nothing is left out, however low Scores are.
            if options.min_score and np.any(np.abs(of_layer[layer] - options.min_score) < 1e-4):
                return UNDECIDED
            nearness[layer], scores[layer] = near[layer], of_layer[layer]
            counting = layer & ~left_out & (of_layer >= options.min_score)
            order = [place for place in np.lexsort((self.ids, -ties, -near, ~same)).tolist() if counting[place]]
            ranked = self._best_of_products(ranked + order) if options.distinct_product else order
            is_full = len(ranked) >= options.start + options.num
            if not options.distinct_product or is_full or counting.sum() < (layer & ~left_out).sum():
                break
        return self._difference(result, ranked[options.start : options.start + options.num], nearness, same, scores)

    def _layers(
        self, asked: Asked, same: npt.NDArray[np.bool_], matching: npt.NDArray[np.bool_]
    ) -> Iterator[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None]:
        """The items that are ranked together: the nearest by their own features, and in the first layer identical ones.

        With them, those that are ranked without siblings: from the first one of a product too many on. None: rounding
        decides which these are.
        """
        cosines = np.einsum("ij,j->i", self.features, asked.feature.astype(np.float64))
        order = np.lexsort((self.ids, -cosines))
        others = order[(matching & ~same)[order]]
        inner = 0
        outer = ranking.DISTINCT_CANDIDATES if asked.options.distinct_product else ranking.CANDIDATES
        while inner == 0 or inner < len(others):
            layer, alone = np.zeros(len(self.keys), bool), np.zeros(len(self.keys), bool)
            nearest = others[inner:outer]
            layer[nearest] = True
            first: dict[int, int] = {}
            for place, group in enumerate(self.groups[nearest].tolist()):
                first.setdefault(group, place)
            end = [*first.values(), len(nearest)][layers.PRODUCTS :][:1] or [len(nearest)]
            alone[nearest[end[0] :]] = True
            if inner == 0:
                layer |= matching & same
            for cut in (inner + end[0], outer):
                if 0 < cut < len(others) and 0 < cosines[others[cut - 1]] - cosines[others[cut]] < 1e-6:
                    yield None
            yield layer, alone
            inner, outer = outer, layers.LAYER_FACTOR * outer

    def _best_of_products(self, ranked: list[int]) -> list[int]:
        best: dict[int, int] = {}
        for place in ranked:
            best.setdefault(int(self.groups[place]), place)
        return list(best.values())

    def _nearness(
        self,
        asked: Asked,
        same: npt.NDArray[np.bool_],
        layer: npt.NDArray[np.bool_],
        alone: npt.NDArray[np.bool_],
        left_out: npt.NDArray[np.bool_],
    ) -> tuple[Floats, Floats]:
        """What ranks: with siblings and lift; and without lift."""
        joint, shares = self._with_all if not left_out.any() else (self._joint(~left_out), self._shares(~left_out))
        query = asked.feature.astype(np.float64)
        plain = np.where(same | alone, self.features @ query, joint @ query)
        if not asked.options.lift or asked.options.distinct_product:
            return plain, plain
        ranked = layer & ~alone & ~left_out
        best = np.full(int(self.groups.max()) + 1, -np.inf)
        np.maximum.at(best, self.groups[ranked], plain[ranked])
        top = np.where(ranked, best[self.groups], plain)
        return np.where(same, plain, plain + shares * (top - plain)), plain

    def _rivals(self, nearness: Floats, others: npt.NDArray[np.bool_]) -> tuple[float, float]:
        """What the two nearest products reach."""
        best = np.full(int(self.groups.max()) + 1, -1.0)
        np.maximum.at(best, self.groups[others], nearness[others])
        first, second, *_ = [*sorted((min(max(float(one), 0.4), 0.9) for one in best), reverse=True), 0.4, 0.4]
        return first, second

    @staticmethod
    def _scores(nearness: Floats, same: npt.NDArray[np.bool_], rivals: tuple[float, float]) -> Floats:
        """The curve of ``docs/design.md``."""
        odds = RECORD.score_slope * np.arctanh(np.clip(nearness, -1 + 1e-7, 1 - 1e-7)) + RECORD.score_offset
        odds = odds + RECORD.score_best * math.atanh(rivals[0]) + RECORD.score_second * math.atanh(rivals[1])
        scores: Floats = np.where(same, 1.0, np.minimum(1 / (1 + np.exp(-odds)), 0.999999))
        return scores

    def _difference(
        self,
        result: SearchResult | Ranking,
        ranked: list[int],
        nearness: Floats,
        same: npt.NDArray[np.bool_],
        scores: Floats,
    ) -> str | None:
        if len(result.hits) != len(ranked):
            return f"{len(result.hits)} hits instead of {len(ranked)}"
        places = {key: place for place, key in enumerate(self.keys)}
        seen: set[Key] = set()
        for number, (hit, expected) in enumerate(zip(result.hits, ranked, strict=True)):
            key = hit.item.key
            place = places.get(key)
            if place is None or key in seen:
                return f"hit {number} is {key}, which is {'not there' if place is None else 'there twice'}"
            seen.add(key)
            known = self.known[place]
            if (hit.item.id, hit.item.category_id, hit.item.attributes) != (known.id, known.category, known.attributes):
                return f"hit {number}, {key}, is another version"
            if place != expected and abs(nearness[place] - nearness[expected]) >= NEAR:
                return f"hit {number} is {key} instead of {self.keys[expected]}"
            if hit.identical is not bool(same[place]) or abs(hit.score - scores[place]) > 1e-3:
                return f"hit {number}, {key}, has the score {hit.score:.6f} instead of {scores[place]:.6f}"
        return None

    def page(self, expression: str | None, category: int | None, start: int, num: int | None) -> tuple[int, list[Key]]:
        """A page of the listing, and how many items there are on all pages."""
        mask = self.meeting(expression)
        chosen = sorted(
            key
            for key, known, meets in zip(self.keys, self.known, mask.tolist(), strict=True)
            if meets and category in (None, known.category)
        )
        return len(chosen), chosen[start : None if num is None else start + num]
