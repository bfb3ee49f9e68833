"""Generations of an index as collections of Milvus: ``NAME_g1``, ``NAME_g2``, …, each with a partition per category.

The alias ``NAME`` names the published one. Partitions are explicit: a partition key would be hashed, so that categories
share partitions, and in Milvus 2.3.5 an upsert files rows under the wrong one.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from imgsearch.errors import RemoteUnavailable
from imgsearch.storage.milvus.client import CollectionMissing

if TYPE_CHECKING:
    from imgsearch.storage.milvus.client import Server

__all__ = ["FEATURE", "ID", "METRIC", "Collections"]

ID: Final = "id"
FEATURE: Final = "feature"
METRIC: Final = "IP"
STRUCTURE: Final = "IVF_FLAT"
"""Vectors as they are, in inverted lists, of each segment of a partition; its scores are exact."""
CONSISTENCY: Final = "Bounded"
"""Searches may be some seconds behind, and wait for nothing; the truth knows what they can miss."""
PARTITION: Final = re.compile("cm?[0-9]+")
SHARDS: Final = 1
FLUSH_S: Final = 600.0
POLL_S: Final = 0.1
LONGEST_POLL_S: Final = 2.0
PATIENCE_S: Final = 600.0
"""How long the building of an index or its loading may make no progress at all."""
PARTITIONS_S: Final = 10.0
"""How long the list of partitions is believed: less than the time for which new items are looked for elsewhere."""


class Collections:
    """The collections of one index."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._partitions: dict[int, tuple[float, frozenset[int]]] = {}

    @property
    def alias(self) -> str:
        """The name that the published collection has besides its own."""
        return self._server.address.collection

    def name(self, number: int) -> str:
        """The name of a generation's collection."""
        return f"{self.alias}_g{number}"

    def numbers(self) -> list[int]:
        """The generations that there are, ascending."""
        form = re.compile(rf"{re.escape(self.alias)}_g([1-9][0-9]{{0,9}})")
        matches = map(form.fullmatch, self._server.call("list_collections"))
        return sorted(int(match[1]) for match in matches if match)

    def published(self) -> int | None:
        """The generation that the alias names; None if there is none."""
        for number in reversed(self.numbers()):
            with suppress(CollectionMissing):
                if self.alias in self._server.call("describe_collection", self.name(number))["aliases"]:
                    return number
        return None

    def publish(self, number: int) -> None:
        """Have the alias name this generation.

        Raises:
            CollectionMissing
        """
        published = self.published()
        if published != number:
            call = "create_alias" if published is None else "alter_alias"
            self._server.call(call, self.name(number), self.alias)

    def create(self, number: int, dimension: int) -> None:
        """Make an empty collection."""
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(ID, DataType.INT64, is_primary=True)
        schema.add_field(FEATURE, DataType.FLOAT_VECTOR, dim=dimension)
        self._server.call(
            "create_collection", self.name(number), schema=schema, consistency_level=CONSISTENCY, num_shards=SHARDS
        )
        self._partitions.pop(number, None)

    def drop(self, number: int) -> None:
        """Delete a collection, if it is there, and the alias, if it names it."""
        if number not in self.numbers():
            return
        with suppress(CollectionMissing):
            if self.alias in self._server.call("describe_collection", self.name(number))["aliases"]:
                self._server.call("drop_alias", self.alias)
            self._server.call("drop_collection", self.name(number))
        self._partitions.pop(number, None)

    # Partitions

    @staticmethod
    def partition(category: int) -> str:
        """The name of a category's partition."""
        return f"c{category}".replace("-", "m")

    def partitions(self, number: int, *, wanted: frozenset[int] = frozenset()) -> frozenset[int]:
        """The categories that have a partition.

        Args:
            number: of the generation.
            wanted: if one of these is missing in what is known, the server is asked again.

        Raises:
            CollectionMissing
        """
        now = time.monotonic()
        asked, known = self._partitions.get(number, (-PARTITIONS_S, frozenset[int]()))
        if now - asked > PARTITIONS_S or not wanted <= known:
            names = self._server.call("list_partitions", self.name(number))
            known = frozenset(int(name[1:].replace("m", "-")) for name in names if PARTITION.fullmatch(name))
            self._partitions[number] = now, known
        return known

    def add_partition(self, number: int, category: int) -> None:
        """Make the partition of a category, unless there is one.

        Raises:
            CollectionMissing
        """
        if category not in self.partitions(number, wanted=frozenset([category])):
            # Another process may have been faster: the call does nothing then.
            self._server.call("create_partition", self.name(number), self.partition(category))
            self._partitions.pop(number, None)

    # Indexes

    def seal(self, number: int) -> None:
        """Close the segments that are being filled, so that they are indexed."""
        self._server.call("flush", self.name(number), timeout=FLUSH_S)

    def index(self, number: int, lists: int) -> None:
        """Build the index, with that many inverted lists per segment, and wait for it."""
        from pymilvus import MilvusClient

        name = self.name(number)
        parameters = MilvusClient.prepare_index_params()
        parameters.add_index(
            FEATURE, index_type=STRUCTURE, index_name=FEATURE, metric_type=METRIC, params={"nlist": lists}
        )
        self._server.call("create_index", name, parameters, sync=False)
        progress = _Progress(f"the index of {name} is not built")
        while True:
            state = self._server.call("describe_index", name, FEATURE) or {"state": "Unknown"}
            if state.get("state") in (None, "Finished") and not int(state.get("pending_index_rows", 0)):
                return
            if state.get("state") == "Failed":
                raise RemoteUnavailable(
                    f"Milvus cannot build the index of {name}: {state.get('index_state_fail_reason')}"
                )
            progress.wait(state.get("indexed_rows"))

    def load(self, number: int) -> None:
        """Load a collection into the memory of the query nodes, and wait for it."""
        name = self.name(number)
        self._server.call("load_collection", name, replica_number=self._server.address.replicas, _async=True)
        progress = _Progress(f"{name} is not loaded")
        while True:
            state = self._server.call("get_load_state", name)
            if getattr(state["state"], "name", state["state"]) == "Loaded":
                return
            progress.wait(state.get("progress"))


class _Progress:
    """Waiting for something that takes long, as long as it goes on."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._pause = POLL_S
        self._seen: object = None
        self._since = time.monotonic()

    def wait(self, seen: object) -> None:
        """Wait a little.

        Raises:
            RemoteUnavailable: nothing has changed for too long.
        """
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        elif now - self._since > PATIENCE_S:
            raise RemoteUnavailable(f"{self._what} after {PATIENCE_S:g} seconds without progress ({seen})")
        time.sleep(self._pause)
        self._pause = min(1.5 * self._pause, LONGEST_POLL_S)
