"""Choosing the backend of an instance: SQLite and FAISS in a local folder, or PostgreSQL with pgvector.

This is the only place that chooses a backend, by what names the instance: a folder with a database or with the address
of one, or that address itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from imgsearch.durable_fs import file_errors
from imgsearch.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from imgsearch.storage.engine import Engine
    from imgsearch.storage.integrity.problems import Problem, Repair
    from imgsearch.storage.permissions import Exposure
    from imgsearch.storage.port import Storage

__all__ = ["Backend", "LocalBackend", "backend_for", "backend_of", "has_password", "is_remote", "located"]

REMOTE: Final = ("postgresql:/", "postgres:/")
"""What addresses begin with, also as paths, which have single slashes."""
PLACE_NAME: Final = "instance.json"
"""The file in a folder that tells where an instance is."""


class Backend(Protocol):
    """A kind of storage: operations on an instance's folder before it is opened."""

    def exists(self, folder: Path) -> bool:
        """Whether the folder names an instance."""

    def check_exists(self, folder: Path) -> None:
        """Raise unless the folder names an instance.

        Raises:
            InstanceNotFound, InstanceDamaged
        """

    def is_leftover(self, path: Path) -> bool:
        """Whether a file in a folder without an instance may be left by a killed ``create``."""

    def create(self, folder: Path, settings: dict[str, Any]) -> None:
        """Create an empty instance atomically."""

    def remove(self, folder: Path) -> None:
        """Remove all files of an instance that is not open; only inside ``writing``."""

    def open(self, folder: Path, *, write: bool = False) -> Storage:
        """Open an instance; for writing, only inside ``writing``.

        Raises:
            InstanceNotFound, InstanceDamaged, NewerFormat, StorageUnwritable
        """

    def writing(self, folder: Path, timeout: float) -> AbstractContextManager[None]:
        """Be the only writer inside the block, where there can be only one.

        Raises:
            InstanceLocked: another process writes for longer than ``timeout`` seconds.
        """

    def writer(self, folder: Path, timeout: float, *, alone: bool = False) -> AbstractContextManager[Storage]:
        """Open an instance for writing during a block.

        Args:
            folder: of the instance.
            timeout: seconds to wait for others that must end first.
            alone: let nobody else write meanwhile, where several may.

        Raises:
            InstanceLocked, InstanceNotFound, InstanceDamaged, NewerFormat, StorageUnwritable
        """

    def shared_file_system(self, folder: Path) -> str | None:
        """The type of the file system if other machines may share it, so that it is not safe; else None."""

    def disk_bytes(self, folder: Path) -> int:
        """The instance's size on this machine's disk."""

    def check(self, folder: Path, *, read_data: bool, settings: Sequence[str]) -> list[Problem]:
        """Check for damage, without writing and without a lock.

        Args:
            folder: of the instance, which may be impossible to open.
            read_data: read all data and verify checksums.
            settings: names of required settings.

        Raises:
            InstanceNotFound, NewerFormat, OlderFormat, StorageUnwritable
        """

    def repair(self, folder: Path, *, settings: Sequence[str], lock_timeout: float) -> Repair:
        """Rebuild derived data, and quarantine damaged items.

        Raises:
            InstanceDamaged: too little of the data is left.
            InstanceNotFound, InstanceLocked, NewerFormat, StorageFull, StorageUnwritable
        """

    def exposures(self, folder: Path) -> list[Exposure]:
        """What other users of this machine may read or modify.

        Raises:
            InstanceNotFound, InstanceDamaged, StorageUnwritable
        """


class LocalBackend:
    """Instances in local folders. Modules are imported on demand, as few commands need all of them."""

    def exists(self, folder: Path) -> bool:
        """Whether the folder holds an instance."""
        from imgsearch.storage.engine import Engine

        return Engine.exists(folder)

    def check_exists(self, folder: Path) -> None:
        """Raise unless the folder holds an instance.

        Raises:
            InstanceNotFound, InstanceDamaged
        """
        from imgsearch.storage.engine import Engine

        Engine.check_exists(folder)

    def is_leftover(self, path: Path) -> bool:
        """Whether a killed ``create`` may have left a file."""
        from imgsearch.storage.engine import Engine

        return Engine.is_leftover(path)

    def create(self, folder: Path, settings: dict[str, Any]) -> None:
        """Create an empty instance in an empty folder."""
        from imgsearch.storage.engine import Engine

        Engine.create(folder, settings)

    def remove(self, folder: Path) -> None:
        """Remove all files of an instance that is not open; only inside ``writing``, whose lock file goes too."""
        from imgsearch.storage.engine import Engine

        Engine.remove(folder)

    def open(self, folder: Path, *, write: bool = False) -> Engine:
        """Open an instance; for writing, only inside ``writing``.

        Raises:
            InstanceNotFound, InstanceDamaged, NewerFormat, StorageUnwritable
        """
        from imgsearch.storage.engine import Engine

        return Engine.open(folder, write=write)

    def writing(self, folder: Path, timeout: float) -> AbstractContextManager[None]:
        """Hold the writer lock.

        Raises:
            InstanceLocked
        """
        from imgsearch.storage.lock import writer_lock

        return writer_lock(folder, timeout)

    @contextmanager
    def writer(self, folder: Path, timeout: float, *, alone: bool = False) -> Iterator[Engine]:  # noqa: ARG002
        """Hold the writer lock and open an instance for writing during a block; nobody else writes meanwhile.

        Raises:
            InstanceLocked, InstanceNotFound, InstanceDamaged, NewerFormat, StorageUnwritable
        """
        with self.writing(folder, timeout):
            engine = self.open(folder, write=True)
            try:
                with engine.errors():
                    yield engine
            finally:
                engine.close()

    def shared_file_system(self, folder: Path) -> str | None:
        """The type of the file system if other machines may share it; None on a local disk."""
        from imgsearch.storage.filesystem import shared_file_system

        return shared_file_system(folder)

    def disk_bytes(self, folder: Path) -> int:
        """Total size of the instance's files."""
        from imgsearch.storage.filesystem import disk_bytes
        from imgsearch.storage.successor import home

        return disk_bytes(folder) + disk_bytes(home(folder))

    def check(self, folder: Path, *, read_data: bool, settings: Sequence[str]) -> list[Problem]:
        """Check for damage; arguments and errors are those of ``integrity.check.check``."""
        from imgsearch.storage.integrity.check import check

        self.check_exists(folder)
        return check(folder, read_data=read_data, settings=settings)

    def repair(self, folder: Path, *, settings: Sequence[str], lock_timeout: float) -> Repair:
        """Repair damage; arguments and errors are those of ``integrity.repair.repair``."""
        from imgsearch.storage.integrity.repair import repair

        self.check_exists(folder)
        with self.writing(folder, lock_timeout):
            return repair(folder, settings=settings)

    def exposures(self, folder: Path) -> list[Exposure]:
        """What other users of this machine may read or modify.

        Raises:
            InstanceNotFound, InstanceDamaged, StorageUnwritable
        """
        from imgsearch.storage.permissions import exposures

        self.check_exists(folder)
        with file_errors(folder):
            return exposures(folder)


def is_remote(place: str | os.PathLike[str]) -> bool:
    """Whether a text or path is the address of an instance in a database, not a folder."""
    return str(place).startswith(REMOTE)


def located(place: str | os.PathLike[str]) -> Path:
    """The path that names an instance: of its folder; or an address, without its password, in the form of a path.

    Raises:
        UsageError: an address is not valid, or what it needs is not installed.
    """
    if not is_remote(place):
        return Path(place)
    from imgsearch.storage.postgres.address import Address

    return Address.parse(str(place)).place


def has_password(address: str) -> bool:
    """Whether an address holds a password; only addresses without one are stored and printed."""
    from imgsearch.storage.postgres.address import Address

    return Address.parse(address).has_secret


def backend_of(folder: Path) -> Backend:
    """The backend of the instance that a folder or an address names, or of one to be created in a folder."""
    if is_remote(folder) or (folder / PLACE_NAME).is_file():
        return _remote_backend(None)
    return LocalBackend()


def backend_for(folder: Path, engine: str | None, index: str | None = None) -> Backend:
    """The backend of an instance to be created.

    Args:
        folder: that will name it.
        engine: the address of the database to create it in; None: as ``backend_of`` says.
        index: the address of an index outside of the database; None: there is none.

    Raises:
        UsageError: there is no such engine, or what it needs is not installed.
    """
    if index is not None and engine is None and not is_remote(folder):
        raise UsageError("an index on a server of its own goes with items in a database: give an engine, too")
    if engine is None and index is None:
        return backend_of(folder)
    if engine is None:
        return _remote_backend(None, index)
    if not is_remote(engine):
        raise UsageError(
            f"an engine {engine.partition(':')[0][:20]!r} is none that this release knows: give "
            "postgresql://USER@HOST/DATABASE, or leave it out for files in a folder"
        )
    return _remote_backend(engine, index)


def _remote_backend(engine: str | None, index: str | None = None) -> Backend:
    from imgsearch.storage.postgres.address import driver

    driver()  # tells what is missing
    from imgsearch.storage.postgres.backend import PostgresBackend

    return PostgresBackend(engine, index)
