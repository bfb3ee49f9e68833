"""Which backend an instance has. Today there is one: SQLite and FAISS in a folder of this machine.

This is the one place where another is chosen, by what stands in the instance's folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgsearch.durable_fs import file_errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from imgsearch.storage.engine import Engine
    from imgsearch.storage.integrity.check import Problem
    from imgsearch.storage.integrity.repair import Repair
    from imgsearch.storage.permissions import Exposure
    from imgsearch.storage.port import Backend

__all__ = ["LocalBackend", "backend_of"]


class LocalBackend:
    """An instance is a folder of this machine. Modules are imported on demand: few commands need all of them."""

    def exists(self, folder: Path) -> bool:
        """Whether the folder holds an instance."""
        from imgsearch.storage.engine import Engine

        return Engine.exists(folder)

    def check_exists(self, folder: Path) -> None:
        """Refuse a folder that holds no instance.

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
        """Make an empty instance in an empty folder."""
        from imgsearch.storage.engine import Engine

        Engine.create(folder, settings)

    def open(self, folder: Path, *, write: bool = False) -> Engine:
        """Open an instance; for writing, inside of ``writing`` only.

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

    def shared_file_system(self, folder: Path) -> str | None:
        """The type of a file system that other machines may use too; None on a local disk."""
        from imgsearch.storage.filesystem import shared_file_system

        return shared_file_system(folder)

    def disk_bytes(self, folder: Path) -> int:
        """How much the files of the instance take."""
        from imgsearch.storage.filesystem import disk_bytes
        from imgsearch.storage.successor import home

        return disk_bytes(folder) + disk_bytes(home(folder))

    def check(self, folder: Path, *, read_data: bool, settings: Sequence[str]) -> list[Problem]:
        """Look for damage; takes and raises what ``integrity.check.check`` does."""
        from imgsearch.storage.integrity.check import check

        self.check_exists(folder)
        return check(folder, read_data=read_data, settings=settings)

    def repair(self, folder: Path, *, settings: Sequence[str], lock_timeout: float) -> Repair:
        """Repair what is damaged; takes and raises what ``integrity.repair.repair`` does."""
        from imgsearch.storage.integrity.repair import repair

        self.check_exists(folder)
        with self.writing(folder, lock_timeout):
            return repair(folder, settings=settings)

    def exposures(self, folder: Path) -> list[Exposure]:
        """What others on this machine may read or change.

        Raises:
            InstanceNotFound, InstanceDamaged, StorageUnwritable
        """
        from imgsearch.storage.permissions import exposures

        self.check_exists(folder)
        with file_errors(folder):
            return exposures(folder)


def backend_of(folder: Path) -> Backend:  # noqa: ARG001  # there is one
    """The backend of the instance that a folder names, or of one that is to be made there."""
    return LocalBackend()
