"""Instances in PostgreSQL, named by their address or by a folder with a file that tells it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from imgsearch.durable_fs import TEMPORARY_SUFFIX, file_errors, make_private_folder, private_opener, sync, sync_folder
from imgsearch.errors import InstanceDamaged, InstanceNotFound, OlderFormat
from imgsearch.storage.backends import PLACE_NAME
from imgsearch.storage.backends import is_remote as is_address
from imgsearch.storage.postgres.address import Address
from imgsearch.storage.postgres.external_index import new_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from imgsearch.storage.integrity.problems import Problem, Repair
    from imgsearch.storage.permissions import Exposure
    from imgsearch.storage.postgres.engine import PostgresEngine

__all__ = ["PostgresBackend", "address_in"]

MAX_PLACE_BYTES: Final = 65_536


def address_in(folder: Path) -> Address:
    """The address that a folder names, or is.

    Raises:
        InstanceDamaged, UsageError
    """
    if is_address(folder):
        return Address.parse(str(folder))
    path = folder / PLACE_NAME
    try:
        with file_errors(folder), open(path, "rb") as file:
            engine = json.loads(file.read(MAX_PLACE_BYTES))["engine"]
    except (ValueError, KeyError, TypeError, RecursionError):
        engine = None
    if not isinstance(engine, str) or not is_address(engine):
        raise InstanceDamaged(
            f'{path} does not name a database: it should be {{"engine": "postgresql://USER@HOST/DATABASE?schema=NAME"}}'
        )
    return Address.parse(engine)


class PostgresBackend:
    """Instances in PostgreSQL.

    Args:
        engine: the address of an instance to be created; None: the folder names or is one.
        index: the address of the index of an instance to be created; None: pgvector.
    """

    def __init__(self, engine: str | None = None, index: str | None = None) -> None:
        self._engine = engine
        self._index = index

    def _address(self, folder: Path) -> Address:
        return address_in(folder) if self._engine is None else Address.parse(self._engine)

    def exists(self, folder: Path) -> bool:
        """Whether the folder names an instance; an address is asked."""
        if not is_address(folder):
            return (folder / PLACE_NAME).is_file()
        from imgsearch.storage.postgres import tables

        return tables.exists(self._address(folder))

    def check_exists(self, folder: Path) -> None:
        """Raise unless the folder names an instance.

        Raises:
            InstanceNotFound, RemoteUnavailable
        """
        if not self.exists(folder):
            raise InstanceNotFound(f"there is no instance in {folder}: create one with 'imgsearch init -i {folder}'")

    def is_leftover(self, path: Path) -> bool:
        """Whether a killed ``create`` may have left a file."""
        return path.name == f"{PLACE_NAME}{TEMPORARY_SUFFIX}"

    def create(self, folder: Path, settings: dict[str, Any]) -> None:
        """Create an empty instance, then the file that names it."""
        from imgsearch.storage.postgres import tables

        address = self._address(folder)
        tables.create(address, settings, None if self._index is None else new_address(self._index))
        if is_address(folder):
            return
        with file_errors(folder):
            make_private_folder(folder)
            temporary = folder / f"{PLACE_NAME}{TEMPORARY_SUFFIX}"
            with open(temporary, "w", encoding="utf-8", opener=private_opener) as file:
                file.write(json.dumps({"engine": address.url}, indent=2) + "\n")
            sync(temporary)
            temporary.replace(folder / PLACE_NAME)
            sync_folder(folder)

    def remove(self, folder: Path) -> None:
        """Remove an instance that is not open."""
        from imgsearch.storage.postgres import tables

        tables.remove(self._address(folder))
        if not is_address(folder):
            with file_errors(folder):
                (folder / PLACE_NAME).unlink(missing_ok=True)

    def open(self, folder: Path, *, write: bool = False) -> PostgresEngine:
        """Open an instance.

        Raises:
            InstanceNotFound, InstanceDamaged, NewerFormat, RemoteUnavailable, UsageError
        """
        return self._open(folder, write=write)

    def _open(self, folder: Path, **options: Any) -> PostgresEngine:
        from imgsearch.storage.postgres import tables
        from imgsearch.storage.postgres.engine import PostgresEngine

        address = self._address(folder)
        try:
            return PostgresEngine(folder, address, **options)
        except OlderFormat:
            tables.migrate(address)
            return PostgresEngine(folder, address, **options)

    @contextmanager
    def writing(self, folder: Path, timeout: float) -> Iterator[None]:
        """Let nobody else write to an instance that is there; one that is to be created is made in one transaction.

        Raises:
            InstanceLocked
        """
        if self._engine is not None or not self.exists(folder):
            yield
            return
        with self.writer(folder, timeout, alone=True):
            yield

    @contextmanager
    def writer(self, folder: Path, timeout: float, *, alone: bool = False) -> Iterator[PostgresEngine]:
        """Open an instance for writing, beside others.

        Args:
            folder: of the instance.
            timeout: seconds to wait for others, where only one may go on.
            alone: let nobody else write meanwhile.

        Raises:
            InstanceLocked, InstanceNotFound, InstanceDamaged, NewerFormat, RemoteUnavailable
        """
        engine = self._open(folder, write=True, timeout=timeout, alone=alone)
        try:
            with engine.errors():
                yield engine
        finally:
            engine.close()

    def shared_file_system(self, folder: Path) -> str | None:  # noqa: ARG002  # nothing lies in it
        """None: the folder holds no more than an address."""
        return None

    def disk_bytes(self, folder: Path) -> int:
        """The size of the instance's tables and indexes in the database."""
        with self.reader(folder) as engine:
            return engine.table_bytes()

    @contextmanager
    def reader(self, folder: Path) -> Iterator[PostgresEngine]:
        """Open an instance for reading during a block."""
        engine = self._open(folder)
        try:
            yield engine
        finally:
            engine.close()

    def check(self, folder: Path, *, read_data: bool, settings: Sequence[str]) -> list[Problem]:
        """Check for damage; arguments and errors are those of ``checking.check``."""
        from imgsearch.storage.postgres.checking import check

        with self.reader(folder) as engine:
            return check(engine, read_data=read_data, settings=settings)

    def repair(self, folder: Path, *, settings: Sequence[str], lock_timeout: float) -> Repair:
        """Repair what is derived, and quarantine damaged items; arguments and errors are those of ``repairing``."""
        from imgsearch.storage.postgres.repairing import repair

        with self.writer(folder, lock_timeout, alone=True) as engine:
            return repair(engine, settings=settings)

    def exposures(self, folder: Path) -> list[Exposure]:
        """What other users of this machine may read or modify: the file with the address, if there is one."""
        from imgsearch.storage.permissions import exposures

        if is_address(folder):
            return []
        self.check_exists(folder)
        with file_errors(folder):
            return exposures(folder)
