"""The part of an index that lies outside of the database: what a vector database has to offer to be one.

The database is the truth. Such an index may be behind it: it may hold ids that are gone and lack new ones, which the
tables ``removed`` and ``pending`` tell (``indexer.py``). It is never asked before something is acknowledged.

A generation is a collection of its own, with a number. Searches and changes go to the published one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from imgsearch.errors import InstanceExists, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    Ids = npt.NDArray[np.int64]
    Feature = npt.NDArray[np.float32]
    Stored = npt.NDArray[np.float16]

__all__ = ["ExternalIndex", "new_address", "open_index"]


class ExternalIndex(Protocol):
    """An index outside of the database.

    Every method may be repeated: a process that is killed between two of them leaves the rest to the next one.

    Raises:
        RemoteUnavailable: it cannot be reached or refuses.
    """

    def add(self, ids: Ids, categories: Ids, features: Stored) -> None:
        """Add items to the published generation; one that is there already stays as it is.

        An id may stand there twice all the same, if a request was carried out and its answer lost.

        Args:
            ids: shape (n,), ascending.
            categories: of each; shape (n,).
            features: shape (n, dimension), L2-normalised.
        """

    def remove(self, ids: Ids) -> None:
        """Delete items from the published generation, if they are there; searches may find them for a while."""

    def build(self, number: int, chunks: Iterator[tuple[Ids, Ids, Stored]]) -> None:
        """Make a generation, unpublished; when this returns, searches of it find all that it was given.

        What an earlier attempt has left under that number is dropped first.

        When it ends, searches see all of it, whichever server of the index they ask.

        Args:
            number: of the generation.
            chunks: ids, categories and features, as for ``add``.
        """

    def publish(self, number: int) -> None:
        """Have searches and changes go to that generation from now on."""

    def drop(self, number: int) -> None:
        """Delete a generation, if it is there."""

    def shortlist(
        self,
        queries: Feature,
        size: int,
        categories: Sequence[tuple[int, ...] | None],
        *,
        number: int,
        probes: int | None = None,
    ) -> list[Ids]:
        """Ids near each query, at least ``size`` where there are so many; in no particular order.

        What was added or removed within the last seconds may be missing or still be there.

        Args:
            queries: shape (n, dimension), L2-normalised.
            size: how many are wanted of each.
            categories: of the results of each query; None: all.
            number: of the generation.
            probes: how many inverted lists to scan; None: as many as there are.

        Raises:
            IndexReplaced: there is no such generation any more.
            RemoteUnavailable
        """

    def count(self, number: int) -> dict[int, int]:
        """How many items a generation holds per category, as exactly as it can be told."""

    def ids(self, number: int, category: int) -> Iterator[Ids]:
        """The ids of a category of a generation, in chunks, in no particular order."""

    def numbers(self) -> list[int]:
        """The generations that there are, ascending, published or not."""

    def published(self) -> int | None:
        """The generation that is published; None if there is none."""

    def version(self) -> str:
        """Name and version of the server, for people."""

    def close(self) -> None:
        """Release what is open."""


def open_index(address: str, name: str) -> ExternalIndex:
    """Open the index at an address.

    Args:
        address: of the server, as a URL without secrets.
        name: of the instance, for what is there of it.

    Raises:
        UsageError: no such index is known.
        RemoteUnavailable
    """
    from imgsearch.storage.milvus.address import MilvusAddress, is_milvus

    if not is_milvus(address):
        raise UsageError(f"the index of {name} lies at {address}, a kind of server that this release does not know")
    from imgsearch.storage.milvus.index import MilvusIndex

    return MilvusIndex(MilvusAddress.parse(address))


def new_address(given: str) -> str:
    """The address of an index to be made, under a name of its own, if its server can be used.

    Raises:
        UsageError: no such index is known, or what it needs is not installed.
        RemoteUnavailable
    """
    from imgsearch.storage.milvus.address import MilvusAddress, is_milvus

    if not is_milvus(given):
        raise UsageError(f"the index can lie at milvus://HOST:PORT, not at {given!r}")
    address = str(MilvusAddress.parse(given).named())
    index = open_index(address, "a new instance")
    try:
        if index.numbers():
            raise InstanceExists(
                f"{address} has the index of an instance already: give another ?collection=NAME, or none"
            )
    finally:
        index.close()
    return address
