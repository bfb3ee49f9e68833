"""What can be done with an instance's folder that need not be open: making, checking, mending."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from imgsearch.errors import UsageError
from imgsearch.opened import SETTINGS
from imgsearch.service.categories import Kind
from imgsearch.storage.backends import backend_of
from imgsearch.vision.limits import LIMIT_PROFILES, Limits
from imgsearch.vision.models import DEFAULT_MODEL

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from imgsearch.storage.integrity.check import Problem
    from imgsearch.storage.integrity.repair import Repair
    from imgsearch.storage.permissions import Exposure

    StrPath = str | os.PathLike[str]

__all__ = ["InstanceFolder"]


class InstanceFolder:
    """The part of ``Instance`` that takes a folder; all of it can be called on the class."""

    @staticmethod
    def create(
        folder: StrPath,
        kind: Kind | str = Kind.PRODUCT,
        *,
        model: str = DEFAULT_MODEL,
        weights: StrPath | None = None,
        limits: Limits = LIMIT_PROFILES["local"],
        region_id: str | None = None,
        codes: bool = False,
        cache: StrPath | None = None,
        announce: Callable[[str], None] = lambda _message: None,
        lock_timeout: float = 0.0,
    ) -> None:
        """Make an empty instance; the folder is made where it is missing.

        Args:
            folder: missing or empty.
            kind: ``product``, with categories, or ``generic``, without.
            model: an embedded model, a timm architecture, or the path of a folder with a model's towers.
            weights: a local file of weights for it.
            limits: what a picture may measure.
            region_id: OSS region whose buckets it may import from.
            codes: keep two bits of each number of a feature, not half precision.
            cache: of converted models; the user's own by default.
            announce: told in one line when a model has to be converted first.
            lock_timeout: seconds to wait for another process that makes one there.

        Raises:
            InstanceExists: there is one, or other files.
            UsageError, InstanceLocked, InvalidModel, StorageFull, StorageUnwritable
        """
        from imgsearch.jobs.creation import create
        from imgsearch.locations import cache_folder

        if kind not in set(Kind):
            raise UsageError(f"there is no kind {kind!r} of instances: it is one of {', '.join(Kind)}")
        create(
            Path(folder),
            Kind(kind),
            model,
            None if weights is None else Path(weights),
            limits,
            region_id,
            codes=codes,
            cache=cache_folder() if cache is None else Path(cache),
            announce=announce,
            lock_timeout=lock_timeout,
        )

    @staticmethod
    def prepare(
        model: str = DEFAULT_MODEL,
        *,
        weights: StrPath | None = None,
        cache: StrPath | None = None,
        announce: Callable[[str], None] = lambda _message: None,
    ) -> None:
        """Make all networks of a model ready for this machine, so that no later command waits for that.

        Args:
            model: as for ``create``; no instance is needed.
            weights: a local file of weights for it.
            cache: of converted models; the user's own by default.
            announce: told in lines what has to be done.

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
        path = Path(folder)
        return backend_of(path).exists(path)

    @staticmethod
    def shared_file_system(folder: StrPath) -> str | None:
        """The type of the file system under a folder, if other machines may use that too; None on a local disk.

        On such a one, locks may not keep writers apart, and SQLite's write-ahead log is not safe.
        """
        path = Path(folder)
        return backend_of(path).shared_file_system(path)

    @staticmethod
    def check(folder: StrPath, *, read_data: bool = False) -> list[Problem]:
        """Look for damage in an instance, which need not be fit for opening; nothing is written, no lock is taken.

        Args:
            folder: of the instance.
            read_data: read everything and hold it against its checksums, not only structure, counts and references.

        Raises:
            InstanceNotFound, NewerFormat, OlderFormat, StorageUnwritable
        """
        path = Path(folder)
        return backend_of(path).check(path, read_data=read_data, settings=SETTINGS)

    @staticmethod
    def exposures(folder: StrPath) -> list[Exposure]:
        """What others on this machine may read or alter in an instance's folder, by the modes there.

        Raises:
            InstanceNotFound, InstanceDamaged, StorageUnwritable
        """
        path = Path(folder)
        return backend_of(path).exposures(path)

    @staticmethod
    def repair(folder: StrPath, *, lock_timeout: float = 0.0) -> Repair:
        """Mend an instance: make the derived anew, put aside what is truth and broken, and say what that was.

        Raises:
            InstanceDamaged: too little is left of the database.
            InstanceNotFound, InstanceLocked, NewerFormat, StorageFull, StorageUnwritable
        """
        path = Path(folder)
        return backend_of(path).repair(path, settings=SETTINGS, lock_timeout=lock_timeout)
