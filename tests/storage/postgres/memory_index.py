"""An index outside of the database that lies in memory: it forgets and lags as its tests order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imgsearch.errors import RemoteUnavailable
from imgsearch.storage.port import IndexReplaced

Ids = npt.NDArray[np.int64]


class MemoryIndex:
    """Generations as dictionaries of id to category and feature."""

    def __init__(self) -> None:
        self.generations: dict[int, dict[int, tuple[int, Any]]] = {}
        self.current: int | None = None
        self.hidden: set[int] = set()
        """Ids that searches do not show yet."""
        self.is_down = False

    def _ask(self) -> None:
        if self.is_down:
            raise RemoteUnavailable("the index is down")

    def add(self, ids: Ids, categories: Ids, features: npt.NDArray[np.float16]) -> None:
        self._ask()
        assert self.current is not None
        for number, category, feature in zip(ids.tolist(), categories.tolist(), features, strict=True):
            self.generations[self.current][number] = category, feature.astype(np.float32)

    def remove(self, ids: Ids) -> None:
        self._ask()
        for number in ids.tolist():
            if self.current is not None:
                self.generations[self.current].pop(number, None)

    def build(self, number: int, chunks: Iterator[tuple[Ids, Ids, npt.NDArray[np.float16]]]) -> None:
        self._ask()
        made: dict[int, tuple[int, Any]] = {}
        for ids, categories, features in chunks:
            for item_id, category, feature in zip(ids.tolist(), categories.tolist(), features, strict=True):
                made[item_id] = category, feature.astype(np.float32)
        self.generations[number] = made

    def publish(self, number: int) -> None:
        self._ask()
        assert number in self.generations
        self.current = number

    def drop(self, number: int) -> None:
        self._ask()
        self.generations.pop(number, None)
        if self.current == number:
            self.current = None

    def shortlist(
        self,
        queries: npt.NDArray[np.float32],
        size: int,
        categories: Sequence[tuple[int, ...] | None],
        *,
        number: int,
        probes: int | None = None,
    ) -> list[Ids]:
        self._ask()
        if number not in self.generations:
            raise IndexReplaced
        answers = []
        for query, wanted in zip(queries, categories, strict=True):
            found = [
                (-float(feature @ query), item_id)
                for item_id, (category, feature) in self.generations[number].items()
                if item_id not in self.hidden and (wanted is None or category in wanted)
            ]
            answers.append(np.array([item_id for _, item_id in sorted(found)[:size]], np.int64))
        return answers

    def count(self, number: int) -> dict[int, int]:
        self._ask()
        categories = [category for category, _ in self.generations.get(number, {}).values()]
        return {category: categories.count(category) for category in set(categories)}

    def ids(self, number: int, category: int) -> Iterator[Ids]:
        self._ask()
        found = [item_id for item_id, (own, _) in self.generations.get(number, {}).items() if own == category]
        yield np.array(sorted(found), np.int64)

    def numbers(self) -> list[int]:
        self._ask()
        return sorted(self.generations)

    def published(self) -> int | None:
        self._ask()
        return self.current

    def version(self) -> str:
        self._ask()
        return "an index in memory"

    def close(self) -> None:
        pass
