"""An index in Milvus: what ``storage.postgres.external_index`` asks of one."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.errors import InstanceEmpty, RemoteUnavailable
from imgsearch.storage.milvus.client import WRITE_S, CollectionMissing, Server
from imgsearch.storage.milvus.collections import FEATURE, ID, METRIC, Collections
from imgsearch.storage.port import IndexReplaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from imgsearch.storage.milvus.address import MilvusAddress

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]
    Stored = npt.NDArray[np.float16]

__all__ = ["MilvusIndex"]

MAX_TOP: Final = 16_384
"""Results that Milvus gives of one query, rows of one page, and queries of one search."""
INSERT_BYTES: Final = 16 * 2**20
"""Of the vectors of one request; Milvus takes 64 MiB."""
LOOKED_UP_AT_ONCE: Final = 10_000
DELETED_AT_ONCE: Final = 5_000
ALL_LISTS: Final = 65_536
"""As many as an index can have."""
MORE_LISTS: Final = 8
"""How many times as many lists are scanned where they hold too few items."""
POINTS_PER_LIST: Final = 64
MIN_LISTS: Final = 16
MAX_LISTS: Final = 1_024
"""Fits a segment: Milvus seals one at 100,000 to 500,000 vectors, and takes fewer lists for a small one."""
STRONG: Final = "Strong"


class MilvusIndex:
    """The index of one instance, as an ``ExternalIndex``.

    Args:
        address: with the name of its collections.
    """

    def __init__(self, address: MilvusAddress) -> None:
        self._server = Server(address)
        self._collections = Collections(self._server)

    def close(self) -> None:
        """End the connection."""
        self._server.close()

    def version(self) -> str:
        """Name and version of the server."""
        return f"Milvus {str(self._server.call('get_server_version')).removeprefix('v')}"

    # Generations

    def numbers(self) -> list[int]:
        """The generations that there are, ascending."""
        return self._collections.numbers()

    def published(self) -> int | None:
        """The generation that the alias names."""
        return self._collections.published()

    def publish(self, number: int) -> None:
        """Have the alias name that generation.

        Raises:
            RemoteUnavailable: also if there is no such generation.
        """
        try:
            self._collections.publish(number)
        except CollectionMissing:
            raise self._missing(number) from None

    def drop(self, number: int) -> None:
        """Delete a generation, if it is there."""
        self._collections.drop(number)

    def build(self, number: int, chunks: Iterator[tuple[Ids, Ids, Stored]]) -> None:
        """Make a generation, and wait until searches can see all of it.

        Raises:
            InstanceEmpty: there are no chunks.
            RemoteUnavailable
        """
        self.drop(number)
        counts: dict[int, int] = defaultdict(int)
        for ids, categories, features in chunks:
            if not counts:
                self._collections.create(number, features.shape[1])
            for category, amount in zip(*np.unique(categories, return_counts=True), strict=True):
                counts[int(category)] += int(amount)
            self._insert(number, ids, categories, features)
        if not counts:
            raise InstanceEmpty("there are no items to index")
        self._collections.seal(number)
        self._collections.index(number, _lists(max(counts.values())))
        self._collections.load(number)
        found = self.count(number)
        if found != counts:
            raise RemoteUnavailable(
                f"{self._collections.name(number)} at {self._server.address.server} has {sum(found.values())} items "
                f"after {sum(counts.values())} were written: run 'imgsearch rebuild' again"
            )

    # Changes

    def add(self, ids: Ids, categories: Ids, features: Stored) -> None:
        """Insert items into the published generation.

        Raises:
            RemoteUnavailable: also if none is published.
        """
        number = self._published()
        try:
            for start in range(0, len(ids), LOOKED_UP_AT_ONCE):
                some = slice(start, start + LOOKED_UP_AT_ONCE)
                new = ~np.isin(ids[some], self._present(number, ids[some]))
                self._insert(number, ids[some][new], categories[some][new], features[some][new])
        except CollectionMissing:
            raise self._missing(number) from None

    def _present(self, number: int, ids: Ids) -> list[int]:
        """Those of the ids that are there: an earlier attempt may have been cut off after it had written them."""
        rows = self._server.call(
            "query",
            self._collections.name(number),
            filter=f"{ID} in {ids.tolist()}",
            output_fields=[ID],
            consistency_level=STRONG,
            timeout=WRITE_S,
        )
        return [row[ID] for row in rows]

    def _insert(self, number: int, ids: Ids, categories: Ids, features: Stored) -> None:
        """Insert items, category by category."""
        for category in np.unique(categories).tolist():
            self._collections.add_partition(number, category)
            places = np.flatnonzero(categories == category)
            rows = max(1, INSERT_BYTES // (4 * features.shape[1]))
            for start in range(0, len(places), rows):
                some = places[start : start + rows]
                self._server.call(
                    "insert",
                    self._collections.name(number),
                    [
                        {ID: number_of, FEATURE: feature}
                        for number_of, feature in zip(
                            ids[some].tolist(), features[some].astype(np.float32), strict=True
                        )
                    ],
                    partition_name=self._collections.partition(category),
                    timeout=WRITE_S,
                    repeat=False,
                )

    def remove(self, ids: Ids) -> None:
        """Delete items from the published generation, if there is one."""
        number = self.published()
        if number is None:
            return
        for start in range(0, len(ids), DELETED_AT_ONCE):
            some = ids[start : start + DELETED_AT_ONCE].tolist()
            try:
                self._server.call("delete", self._collections.name(number), ids=some, timeout=WRITE_S)
            except CollectionMissing:
                raise self._missing(number) from None

    # Searches

    def shortlist(
        self,
        queries: Feature,
        size: int,
        categories: Sequence[tuple[int, ...] | None],
        *,
        number: int,
        probes: int | None = None,
    ) -> list[Ids]:
        """Ids near each query; arguments are those of ``ExternalIndex``.

        Raises:
            IndexReplaced: there is no such generation any more.
            RemoteUnavailable
        """
        answers = [np.zeros(0, np.int64)] * len(queries)
        rows_of: dict[tuple[int, ...] | None, list[int]] = defaultdict(list)
        for row, wanted in enumerate(categories):
            rows_of[wanted].append(row)
        try:
            for wanted, rows in rows_of.items():
                names = self._names(number, wanted)
                if names == []:
                    continue
                for row, ids in zip(rows, self._near(queries[rows], size, names, number, probes), strict=True):
                    answers[row] = ids
        except CollectionMissing:
            raise IndexReplaced from None
        return answers

    def _names(self, number: int, categories: tuple[int, ...] | None) -> list[str] | None:
        """The partitions of these categories; None: all."""
        if categories is None:
            return None
        wanted = frozenset(categories)
        known = self._collections.partitions(number, wanted=wanted)
        return [self._collections.partition(category) for category in sorted(wanted & known)]

    def _near(
        self, queries: Feature, size: int, partitions: list[str] | None, number: int, probes: int | None
    ) -> list[Ids]:
        parameters = {"metric_type": METRIC, "params": {"nprobe": ALL_LISTS if probes is None else probes}}
        options: dict[str, Any] = {"partition_names": partitions, "search_params": parameters}
        if size > MAX_TOP:
            return [self._far(query, size, number, options) for query in queries]
        answers = self._first(queries, size, number, options)
        few = [row for row, ids in enumerate(answers) if len(ids) < size]
        if few and probes is not None:
            # These lists hold too few.
            more = MORE_LISTS * probes
            again = self._near(queries[few], size, partitions, number, more if more < ALL_LISTS else None)
            for row, ids in zip(few, again, strict=True):
                answers[row] = ids
        return answers

    def _first(self, queries: Feature, size: int, number: int, options: dict[str, Any]) -> list[Ids]:
        answers = []
        at_once = max(1, MAX_TOP // size)
        for start in range(0, len(queries), at_once):
            found = self._server.call(
                "search",
                self._collections.name(number),
                data=list(queries[start : start + at_once]),
                limit=size,
                timeout=self._server.address.timeout,
                hasty=True,
                **options,
            )
            answers += [np.asarray(hits.ids, np.int64) for hits in found]
        return answers

    def _far(self, query: Feature, size: int, number: int, options: dict[str, Any]) -> Ids:
        """More than one search gives: page after page by falling score."""
        pages = self._server.call(
            "search_iterator", self._collections.name(number), data=[query], batch_size=MAX_TOP, limit=size, **options
        )
        return np.unique(np.concatenate([np.zeros(0, np.int64), *self._pages(pages)]))

    def _pages(self, pages: Any) -> Iterator[Ids]:
        try:
            while rows := self._server.guarded(pages.next):
                yield np.fromiter((row[ID] for row in rows), np.int64, len(rows))
        finally:
            pages.close()

    # Contents

    def count(self, number: int) -> dict[int, int]:
        """How many rows each partition has; waits until all that was written is seen."""
        counts = {}
        for category in sorted(self._collections.partitions(number)):
            (row,) = self._query(number, category, "count(*)")
            if row["count(*)"]:
                counts[category] = int(row["count(*)"])
        return counts

    def _query(self, number: int, category: int, field: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._server.call(
            "query",
            self._collections.name(number),
            output_fields=[field],
            partition_names=[self._collections.partition(category)],
            consistency_level=STRONG,
        )
        return rows

    def ids(self, number: int, category: int) -> Iterator[Ids]:
        """The ids of a partition, ascending, in chunks; waits until all that was written is seen."""
        if category not in self._collections.partitions(number):
            return
        pages = self._server.call(
            "query_iterator",
            self._collections.name(number),
            batch_size=MAX_TOP,
            output_fields=[ID],
            partition_names=[self._collections.partition(category)],
            consistency_level=STRONG,
        )
        yield from self._pages(pages)

    def _published(self) -> int:
        number = self.published()
        if number is None:
            raise self._missing(None)
        return number

    def _missing(self, number: int | None) -> RemoteUnavailable:
        what = "an index" if number is None else self._collections.name(number)
        return RemoteUnavailable(
            f"{self._server.address.server} has lost {what} of this instance; the items are safe in the database: "
            "run 'imgsearch rebuild'"
        )


def _lists(items: int) -> int:
    """The inverted lists of a segment, of a partition with that many items."""
    wanted = 1 << max(0, round(np.log2(max(1, items) / POINTS_PER_LIST)))
    return int(min(max(wanted, MIN_LISTS), MAX_LISTS))
