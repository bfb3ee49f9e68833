"""Reading what a search ranks: features, items and siblings, many at a time, in few statements."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from imgsearch.filters.tree import EVERYTHING
from imgsearch.quantization import single
from imgsearch.storage.port import Pictures
from imgsearch.storage.records import CHECKED_FEATURE, CHECKED_ITEM
from imgsearch.storage.sqlite.columns import (
    FEATURE_COLUMNS,
    GROUP_COLUMNS,
    GROUP_WIDTH,
    MANY,
    ROW_COLUMNS,
    FeatureColumns,
    GroupColumns,
    Wanted,
    is_binary_safe,
    verified_rows,
)
from imgsearch.storage.sqlite.conditions import compiled
from imgsearch.storage.sqlite.places import Places

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from imgsearch.filters.tree import Condition

    Ids = npt.NDArray[np.int64]

__all__ = ["Ranked"]

WANTED = "json_each(?) AS wanted"
"""The ids or names asked for, in one parameter: one statement, however many they are."""
ITEMS = f"{WANTED} CROSS JOIN items ON items.id = wanted.value"
FEATURES = f"{WANTED} CROSS JOIN features ON features.id = wanted.value"
BOTH = f"{ITEMS} CROSS JOIN features ON features.id = items.id"


class Ranked(Places):
    """Queries of a search."""

    def features_of(self, ids: Iterable[int]) -> tuple[Ids, npt.NDArray[np.float32]]:
        """The features of items; see ``Truth.features_of``."""
        wanted = sorted(ids)
        if not wanted:
            return np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
        found = [self._features(Wanted(some)) for some in _in_pieces(wanted)]
        if sum(len(some) for some, _ in found) != len(wanted):
            raise self.damage("an item or its feature")
        if len({features.shape[1] for _, features in found}) > 1:
            raise self.damage("a feature")
        features = [single(features) for _, features in found]
        if len(found) == 1:
            return found[0][0], features[0]
        return np.concatenate([some for some, _ in found]), np.concatenate(features)

    def _features(self, wanted: Wanted) -> tuple[Ids, npt.NDArray[np.floating]]:
        """Those of the ids that have features, ascending."""
        if is_binary_safe():
            columns = self._connection.execute(f"SELECT {FEATURE_COLUMNS} FROM {FEATURES}", (wanted.json,)).fetchone()
            joined = FeatureColumns.read(columns, wanted, self.coding)
            if joined.verified:
                return joined.ids, joined.features
        rows = self._connection.execute(
            f"SELECT features.id, {CHECKED_FEATURE} FROM {FEATURES}", (wanted.json,)
        ).fetchall()
        self._check_features(rows)
        features = self._unpacked(b"".join(row[1] for row in rows), len(rows))
        return np.array([row[0] for row in rows], np.int64), features

    def matching(self, ids: Iterable[int], condition: Condition) -> Ids:
        """The given ids that are items and meet the condition, in no particular order."""
        wanted = compiled(condition)
        return np.concatenate(
            [np.zeros(0, np.int64)]
            + [
                self._ids(f"SELECT items.id FROM {ITEMS} WHERE {wanted.text}", (Wanted(some).json, *wanted.parameters))
                for some in _in_pieces(sorted(ids))
            ]
        )

    def candidates(
        self,
        ids: Ids,
        features: npt.NDArray[np.float32],
        marked: Condition,
        condition: Condition = EVERYTHING,
    ) -> tuple[Pictures, npt.NDArray[np.bool_]]:
        """Items whose features the caller has, and which of them are marked; see ``Truth.candidates``."""
        mark, known = compiled(marked), compiled(condition)
        order = np.argsort(ids)
        groups: list[tuple[str, int]] = []
        marks: list[bool] = []
        for some in _in_pieces(ids[order].tolist()):
            wanted = Wanted(some)
            *columns, joined, all_known = self._connection.execute(
                f"SELECT {GROUP_COLUMNS}, group_concat(coalesce(({mark.text}), 0), ''), "
                f"min(coalesce(({known.text}), 0)) FROM {ITEMS}",
                (*mark.parameters, *known.parameters, wanted.json),
            ).fetchone()
            rows = GroupColumns.read(columns, wanted)
            if len(rows.ids) != len(some) or not all_known:
                raise self.damage("an index of items")
            groups += self._groups(rows)
            marks += map("1".__eq__, joined)
        places = np.argsort(order)
        pictures = Pictures(ids, [groups[place] for place in places.tolist()], features)
        return pictures, np.array(marks, np.bool_)[places]

    def _groups(self, rows: GroupColumns) -> list[tuple[str, int]]:
        """ProductId and category of rows."""
        if rows.groups is not None:
            return rows.groups
        found = self._connection.execute(
            f"SELECT items.id, product_id, category_id FROM {ITEMS}", (Wanted(rows.ids.tolist()).json,)
        )
        known = {item_id: (product_id, category_id) for item_id, product_id, category_id in found}
        return [known[item_id] for item_id in rows.ids.tolist()]

    def verify(self, ids: Iterable[int]) -> None:
        """Hold items against their checksums.

        Raises:
            InstanceDamaged: one is missing or corrupted.
        """
        for some in _in_pieces(sorted(ids)):
            wanted = Wanted(some)
            columns = self._connection.execute(f"SELECT {ROW_COLUMNS} FROM {ITEMS}", (wanted.json,)).fetchone()
            found, verified = verified_rows(columns, wanted)
            if len(found) != len(some):
                raise self.damage("an index of items")
            if not verified.all():
                doubtful = Wanted(found[~verified].tolist())
                self._verify_rows(self._connection.execute(f"SELECT {CHECKED_ITEM} FROM {ITEMS}", (doubtful.json,)))

    def first_of_products(self, product_ids: Iterable[str], limit: int) -> tuple[Ids, Ids]:
        """The first ``limit`` pictures of each product; see ``Truth.first_of_products``.

        The index of keys is sorted by PicName, so only these are read, however many pictures a product has; and read
        in nothing but that index, so that they can be held against the products that items have in their rows.
        """
        first = "SELECT id FROM items INDEXED BY items_key WHERE product_id = wanted.value ORDER BY pic_name LIMIT ?"
        (text,) = self._connection.execute(
            f"SELECT group_concat(wanted.key || coalesce(',' || (SELECT group_concat(id) FROM ({first})), ''), ';') "
            f"FROM {WANTED}",
            (limit, json.dumps(list(product_ids))),
        ).fetchone()
        if text is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        sizes = np.array([found.count(",") for found in text.split(";")], np.int64)
        values = np.fromstring(text.replace(";", ","), np.int64, sep=",")
        starts = np.cumsum(sizes + 1) - sizes - 1
        return np.delete(values, starts), np.repeat(values[starts], sizes)

    def siblings(self, ids: Iterable[int], condition: Condition = EVERYTHING) -> Iterator[Pictures]:
        """Yield the items among these ids that meet the condition, in non-empty chunks, by ascending id.

        Raises:
            InstanceDamaged: a feature is corrupted.
        """
        for some in _in_pieces(sorted(ids)):
            pictures = self._siblings(some, condition)
            if len(pictures.ids):
                yield pictures

    def _siblings(self, ids: list[int], condition: Condition) -> Pictures:
        wanted, met = Wanted(ids), compiled(condition)
        columns = self._connection.execute(
            f"SELECT {GROUP_COLUMNS}, {FEATURE_COLUMNS} FROM {BOTH} WHERE {met.text}", (wanted.json, *met.parameters)
        ).fetchone()
        rows = GroupColumns.read(columns[:GROUP_WIDTH], wanted)
        features = FeatureColumns.read(columns[GROUP_WIDTH:], wanted, self.coding) if is_binary_safe() else None
        if features is not None and features.verified:
            found = single(features.features)
        else:
            _, found = self.features_of(rows.ids.tolist())
        return Pictures(rows.ids, self._groups(rows), found)


def _in_pieces(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), MANY):
        yield ids[start : start + MANY]
