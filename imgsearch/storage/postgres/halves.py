"""Features on their way to PostgreSQL and back: pgvector's ``halfvec`` in its binary form, which is exact."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo

from imgsearch.storage.records import FEATURE_TYPE

if TYPE_CHECKING:
    import numpy.typing as npt
    from psycopg import Connection
    from psycopg.abc import Buffer

__all__ = ["Half", "half", "register"]

HEADER: Final = struct.Struct(">hh")
"""The dimension, and a number that is not used; the numbers follow, big-endian."""


class Half(bytes):
    """A feature as it is stored: little-endian float16."""

    __slots__ = ()


def half(feature: npt.NDArray[np.floating]) -> Half:
    """A feature of shape (dimension,) as it is stored."""
    return Half(feature.astype(FEATURE_TYPE).tobytes())


class _HalfDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Half) -> bytes:
        return HEADER.pack(len(obj) // 2, 0) + np.frombuffer(obj, FEATURE_TYPE).astype(">f2").tobytes()


class _HalfLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return np.frombuffer(data, ">f2", offset=HEADER.size).astype(FEATURE_TYPE).tobytes()


def register(connection: Connection[tuple[object, ...]], oid: int, array_oid: int) -> None:
    """Teach a connection the type, which has another number in each database."""
    TypeInfo("halfvec", oid, array_oid).register(connection)
    dumper = type("_Dumper", (_HalfDumper,), {"oid": oid})
    connection.adapters.register_dumper(Half, dumper)
    connection.adapters.register_loader(oid, _HalfLoader)
