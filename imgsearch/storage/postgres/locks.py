"""Advisory locks: they end with the transaction or the connection that holds them, however that ends.

``hold`` takes locks of the instance as a whole. Writers share one; what changes all features needs it alone, as writers
keep the tuning in mind. Making an index has one of its own, so that writing goes on meanwhile.

``lock_products`` makes commits that touch the same products wait for each other, in one order for all, so that no two
wait for each other. A commit that touches many products, or cannot tell which, waits for all others instead.
"""

from __future__ import annotations

import os
import socket
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InstanceLocked
from imgsearch.storage.postgres.connection import command_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from imgsearch.storage.postgres.connection import Link

__all__ = ["Lock", "give_back", "hold", "is_held", "lock_products"]

MAX_PRODUCTS: Final = 512
"""Locks of one commit: the server has room for some 64 per connection that it allows."""
POLL_SECONDS: Final = 0.05
LEAVING_SECONDS: Final = 1.0
"""Waited in any case: the server takes a moment to notice that a connection was closed, as by the command before."""
OWN_HASH: Final = 0x7FFF_FFFF


class Lock(IntEnum):
    """The second number of a lock; the first one is the schema's."""

    FORMAT = 1
    """Creating and migrating."""
    WRITING = 2
    """Shared by all writers; alone: nobody else writes."""
    INDEX = 3
    """Making an index."""
    COMMITS = 4
    """Within a commit: shared by those that name their products."""
    PARTITIONS = 5
    """Within a commit: making a partition."""


def _space(link: Link) -> int:
    """The first number of the instance's locks, within 32 bits."""
    assert link.facts.schema is not None
    return link.facts.schema & OWN_HASH


def hold(link: Link, lock: Lock, timeout: float, *, shared: bool = False) -> None:
    """Take a lock for as long as the connection lives, or until ``give_back``.

    Args:
        link: the connection.
        lock: which.
        timeout: seconds to wait for others, at least ``LEAVING_SECONDS``.
        shared: with others that share it.

    Raises:
        InstanceLocked: others hold it for longer; the message tells who.
    """
    kind = "_shared" if shared else ""
    deadline = time.monotonic() + max(timeout, LEAVING_SECONDS)
    while not _is_true(link, f"SELECT pg_try_advisory_lock{kind}(%s::int, %s::int)", lock):
        if time.monotonic() >= deadline:
            raise InstanceLocked(
                f"{link.address.url} is being {_doing(link, lock)}: wait for it to end, or pass --lock-timeout SECONDS"
            )
        time.sleep(POLL_SECONDS)
    if not shared:
        link.run(
            "INSERT INTO holders (lock, host, pid, command) VALUES (%s, %s, %s, %s) ON CONFLICT (lock) DO UPDATE "
            "SET host = excluded.host, pid = excluded.pid, command = excluded.command, since = now()",
            (int(lock), socket.gethostname(), os.getpid(), command_name()),
        )


def give_back(link: Link, lock: Lock) -> None:
    """Give back a lock that was taken alone."""
    link.run("DELETE FROM holders WHERE lock = %s", (int(lock),))
    link.run("SELECT pg_advisory_unlock(%s::int, %s::int)", (_space(link), int(lock)))


def is_held(link: Link, lock: Lock) -> bool:
    """Whether somebody holds a lock."""
    found = link.row(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = %s AND objid::bigint = %s "
        "AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (_space(link), int(lock)),
    )
    return found is not None and found[0] > 0


def _is_true(link: Link, statement: str, lock: Lock) -> bool:
    row = link.row(statement, (_space(link), int(lock)))
    return row is not None and bool(row[0])


def _doing(link: Link, lock: Lock) -> str:
    """What those who hold a lock do, and who they are."""
    holder = link.row(
        "SELECT host, pid, command, since::timestamptz(0)::text FROM holders WHERE lock = %s", (int(lock),)
    )
    if holder is not None and (lock is Lock.INDEX or not _others(link)):
        host, pid, command, since = holder
        doing = "indexed" if lock is Lock.INDEX else "changed as a whole"
        return f"{doing} by process {pid} on {host} ({command}), since {since}"
    others = _others(link)
    return f"written by {', '.join(others)}" if others else "written by another process"


def _others(link: Link) -> list[str]:
    """Who shares the lock of writers, as far as this role may see it."""
    rows = link.rows(
        "SELECT coalesce(nullif(activity.application_name, ''), 'a process') FROM pg_locks AS locks "
        "JOIN pg_stat_activity AS activity ON activity.pid = locks.pid WHERE locks.locktype = 'advisory' "
        "AND locks.classid::bigint = %s AND locks.objid::bigint = %s AND locks.mode = 'ShareLock' AND locks.granted "
        "AND locks.pid <> pg_backend_pid() ORDER BY activity.backend_start LIMIT 5",
        (_space(link), int(Lock.WRITING)),
    )
    return [str(name) for (name,) in rows]


def lock_products(link: Link, products: Collection[str] | None) -> bool:
    """Wait for the commits that touch the same products, and let later ones wait; inside of a transaction.

    Args:
        link: the connection.
        products: ProductIds; None: all.

    Returns:
        Whether all products are locked now.
    """
    if products is None or len(products) > MAX_PRODUCTS:
        link.run("SELECT pg_advisory_xact_lock(%s::int, %s::int)", (_space(link), int(Lock.COMMITS)))
        return True
    link.run("SELECT pg_advisory_xact_lock_shared(%s::int, %s::int)", (_space(link), int(Lock.COMMITS)))
    lock_more(link, products)
    return False


def lock_more(link: Link, products: Collection[str]) -> None:
    """Lock further products in a transaction that has locked some."""
    link.run(
        "SELECT pg_advisory_xact_lock(number) FROM (SELECT DISTINCT hashtextextended(product, %s) AS number "
        "FROM unnest(%s::text[]) AS product ORDER BY number) AS numbers",
        (_space(link), list(products)),
    )


def lock_partitions(link: Link) -> None:
    """Be the only one to make a partition, until the transaction ends."""
    link.run("SELECT pg_advisory_xact_lock(%s::int, %s::int)", (_space(link), int(Lock.PARTITIONS)))
