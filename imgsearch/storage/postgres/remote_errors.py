"""The translation of the database's errors into those of imgsearch."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg

from imgsearch.errors import (
    InstanceDamaged,
    InstanceLocked,
    InvalidValue,
    RemoteCode,
    RemoteUnavailable,
    StorageFull,
    StorageUnwritable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.storage.postgres.address import Address

__all__ = ["is_passing", "remote_errors"]

PASSING: Final = ("Connection refused", "starting up", "shutting down", "too many clients", "closed the connection")
"""In messages about connections that could not be made: it is worth trying again."""
REFUSED: Final = ("authentication", "pg_hba.conf", "does not exist", "permission denied", "password")
"""In such messages: the server was reached and refuses."""


def is_passing(error: BaseException) -> bool:
    """Whether a connection that could not be made may be made in a moment."""
    return isinstance(error, psycopg.OperationalError) and any(text in str(error) for text in PASSING)


@contextmanager
def remote_errors(address: Address) -> Iterator[None]:
    """Translate errors of psycopg; a message names the address without its password."""
    try:
        yield
    except psycopg.Error as error:
        translated = _translated(error, address.url)
        if translated is None:
            raise
        raise translated from error


def _translated(error: psycopg.Error, url: str) -> Exception | None:
    state = error.sqlstate or ""
    why = " ".join(str(error).split())
    if state in ("53100", "53400"):  # disk_full, configuration_limit_exceeded
        return StorageFull(f"the database {url} has no space left ({why}): make room there, then run the command again")
    if state in ("25006", "42501"):  # read_only_sql_transaction, insufficient_privilege
        return StorageUnwritable(
            f"the database {url} refuses ({why}): connect to the primary server, and have the role own the schema"
        )
    if state.startswith("XX") or state in ("42P01", "42703"):  # corrupted data; a table or column is missing
        return InstanceDamaged(
            f"the database {url} is damaged ({why}): run 'imgsearch check', or restore it from a backup"
        )
    if state in ("40P01", "40001", "55P03"):  # deadlock, serialization failure, lock not available
        return InstanceLocked(f"another writer changes the same items in {url} ({why}): run the command again")
    if state == "57014":
        return RemoteUnavailable(
            f"the database {url} cancelled a statement ({why}): raise statement_timeout for this role, or run the "
            "command again when it has less to do"
        )
    # The driver finds it in text, the server in what is copied.
    if isinstance(error, psycopg.DataError) and ("NUL" in why or ": 0x00" in why):
        return InvalidValue("a value contains a NUL character, which PostgreSQL cannot store")
    if state.startswith(("08", "28", "3D", "53", "57P", "58")) or isinstance(error, psycopg.OperationalError):
        is_refused = state.startswith(("28", "3D")) or (not state and any(text in why for text in REFUSED))
        return RemoteUnavailable(
            f"the database {url} "
            + (
                f"refuses the connection ({why}): check the address, and give the password in PGPASSWORD or ~/.pgpass"
                if is_refused
                else f"cannot be used ({why}): is the server running and within reach? Run the command again; what "
                "was acknowledged is kept"
            ),
            code=RemoteCode.POLICY_INSUFFICIENT if is_refused else RemoteCode.UNAVAILABLE,
        )
    return None
