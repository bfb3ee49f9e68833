"""Operations on an instance's folder that need no open instance: creation, checks, repair."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from imgsearch.errors import UsageError
from imgsearch.opened import SETTINGS
from imgsearch.service.categories import Kind
from imgsearch.storage.backends import backend_of, located
from imgsearch.values import CODINGS, DEFAULT_CODING
from imgsearch.vision.limits import LIMIT_PROFILES, Limits
from imgsearch.vision.models import DEFAULT_MODEL

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from imgsearch.storage.integrity.problems import Problem, Repair
    from imgsearch.storage.permissions import Exposure
    from imgsearch.values import FeatureCoding

    StrPath = str | os.PathLike[str]

__all__ = ["InstanceFolder"]


class InstanceFolder:
    """The static methods of ``Instance``, which take a folder."""

    @staticmethod
    def create(
        folder: StrPath,
        kind: Kind | str = Kind.PRODUCT,
        *,
        model: str = DEFAULT_MODEL,
        weights: StrPath | None = None,
        limits: Limits = LIMIT_PROFILES["local"],
        region_id: str | None = None,
        features: FeatureCoding = DEFAULT_CODING,
        engine: str | None = None,
        index: str | None = None,
        cache: StrPath | None = None,
        announce: Callable[[str], None] = lambda _message: None,
        lock_timeout: float = 0.0,
    ) -> None:
        """Create an empty instance, and its folder if missing.

        Args:
            folder: missing or empty.
            kind: ``product``, with categories, or ``generic``, without.
            model: an embedded model, a timm architecture, or the path of a folder with a model's towers.
            weights: a local weights file.
            limits: on the size of pictures.
            region_id: OSS region of the buckets to import from.
            features: how precisely the numbers of a feature are kept: ``floats`` (16 bits), ``8-bit``, ``4-bit`` or
                ``codes`` (2 bits).
            engine: the address of a database that holds the items (``postgresql://…``), which the folder then only
                names; None: the folder holds them. The address may also stand in place of the folder.
            index: with such a database, the address of the server of its index (``milvus://…``); None: the database.
            cache: of converted models; by default the user's.
            announce: called with a line if a model must be converted first.
            lock_timeout: seconds to wait for another process that creates one there.

        Raises:
            InstanceExists: the folder holds an instance or other files.
            UsageError, InstanceLocked, InvalidModel, RemoteUnavailable, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.creation import create
        from imgsearch.locations import cache_folder

        if kind not in set(Kind):
            raise UsageError(f"invalid kind {kind!r}; expected one of {', '.join(Kind)}")
        if features not in CODINGS:
            raise UsageError(f"invalid features {features!r}; expected one of {', '.join(CODINGS)}")
        create(
            located(folder),
            Kind(kind),
            model,
            None if weights is None else Path(weights),
            limits,
            region_id,
            bits=CODINGS[features],
            engine=engine,
            index=index,
            cache=cache_folder() if cache is None else Path(cache),
            announce=announce,
            lock_timeout=lock_timeout,
        )

    @staticmethod
    def remove_if_empty(folder: StrPath) -> bool:
        """Remove an instance without items, such as one that was made for additions which all failed.

        Its folder stays.

        Returns:
            Whether it was removed: it was empty, and nobody else is writing to it.

        Raises:
            InstanceDamaged, NewerFormat, StorageUnwritable
        """
        from imgsearch.jobs.creation import remove_if_empty

        return remove_if_empty(located(folder))

    @staticmethod
    def prepare(
        model: str = DEFAULT_MODEL,
        *,
        weights: StrPath | None = None,
        cache: StrPath | None = None,
        announce: Callable[[str], None] = lambda _message: None,
    ) -> None:
        """Prepare all networks of a model on this machine, so that later commands need not wait.

        Args:
            model: as for ``create``; no instance is needed.
            weights: a local weights file.
            cache: of converted models; by default the user's.
            announce: called with a line about each step.

        Raises:
            InvalidModel, StorageFull, StorageUnwritable
        """
        from imgsearch.locations import cache_folder
        from imgsearch.vision.models import find_model
        from imgsearch.vision.preparation import prepare

        record = find_model(model, None if weights is None else Path(weights))
        prepare(record, cache_folder() if cache is None else Path(cache), announce)

    @staticmethod
    def exists(folder: StrPath) -> bool:
        """Whether the folder holds an instance."""
        path = located(folder)
        return backend_of(path).exists(path)

    @staticmethod
    def shared_file_system(folder: StrPath) -> str | None:
        """The type of a folder's file system if other machines may share it; None on a local disk.

        On a shared one, locks may not exclude other writers, and SQLite's write-ahead log is not safe.
        """
        path = located(folder)
        return backend_of(path).shared_file_system(path)

    @staticmethod
    def check(folder: StrPath, *, read_data: bool = False) -> list[Problem]:
        """Check an instance for damage, even if it cannot be opened; writes nothing, takes no lock.

        Args:
            folder: of the instance.
            read_data: read all data and verify checksums, not only structure, counts and references.

        Raises:
            InstanceNotFound, NewerFormat, OlderFormat, StorageUnwritable
        """
        path = located(folder)
        return backend_of(path).check(path, read_data=read_data, settings=SETTINGS)

    @staticmethod
    def exposures(folder: StrPath) -> list[Exposure]:
        """Files of an instance that other users may read or modify, by their modes.

        Raises:
            InstanceNotFound, InstanceDamaged, StorageUnwritable
        """
        path = located(folder)
        return backend_of(path).exposures(path)

    @staticmethod
    def repair(folder: StrPath, *, lock_timeout: float = 0.0) -> Repair:
        """Repair an instance: rebuild derived data, quarantine damaged items, and list what was lost.

        This process must not have the instance open: the repair reads the file of the database itself, and closing a
        file ends all locks that its process holds on it, those of SQLite included (POSIX).

        Raises:
            InstanceDamaged: too little of the database is left.
            InstanceNotFound, InstanceLocked, NewerFormat, StorageFull, StorageUnwritable
        """
        path = located(folder)
        return backend_of(path).repair(path, settings=SETTINGS, lock_timeout=lock_timeout)
