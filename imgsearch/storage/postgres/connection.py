"""Connections to PostgreSQL: made again where nothing was begun, with transactions as the port of storages has them."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

from imgsearch import own_process
from imgsearch.errors import InstanceDamaged, InstanceNotFound, NewerFormat, OlderFormat, RemoteUnavailable, UsageError
from imgsearch.storage.postgres import halves
from imgsearch.storage.postgres.remote_errors import is_passing, remote_errors
from imgsearch.storage.postgres.schema import CODED_VERSION, FORMAT_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imgsearch.storage.postgres.address import Address

__all__ = ["Facts", "Link", "command_name", "connected"]

CONNECT_SECONDS: Final = "10"
ATTEMPTS: Final = 4
"""Of making a connection, over some two seconds: a server that is started anew refuses for a moment."""
KEEPALIVE: Final = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
"""A server that has vanished without a word is noticed within a minute, also on its side (``_PREPARE``)."""
IDLE_WRITER_SECONDS: Final = 300
"""A transaction that writes and whose client has gone silent is ended by the server after this time."""
MINIMUM_SERVER: Final = 150_000
MINIMUM_VECTOR: Final = (0, 8)
"""The first pgvector that searches further lists when those it was told to search have too few items."""
MAX_NAME_BYTES: Final = 63
MANY: Final = 32
"""Rows from which on they are copied, which takes a round trip more."""

_FACTS: Final = """
    SELECT current_setting('server_version_num')::int AS server, current_setting('server_version') AS server_text,
        current_setting('server_encoding') AS encoding, schemas.oid::bigint AS schema,
        extensions.extversion AS vector, places.nspname AS vector_schema, types.oid::bigint AS half,
        types.typarray::bigint AS halves, to_regclass(quote_ident(%s) || '.imgsearch_format') IS NOT NULL AS exists
    FROM (VALUES (1)) AS one
    LEFT JOIN pg_namespace AS schemas ON schemas.nspname = %s
    LEFT JOIN pg_extension AS extensions ON extensions.extname = 'vector'
    LEFT JOIN pg_namespace AS places ON places.oid = extensions.extnamespace
    LEFT JOIN pg_type AS types ON types.typname = 'halfvec' AND types.typnamespace = extensions.extnamespace
"""
_PREPARE: Final = """
    SELECT set_config('search_path', concat_ws(', ', quote_ident(%s), quote_ident(%s), 'pg_temp'), false),
        set_config('tcp_keepalives_idle', '60', false), set_config('tcp_keepalives_interval', '20', false),
        set_config('tcp_keepalives_count', '3', false), set_config('ivfflat.iterative_scan', 'relaxed_order', false)
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a connection learns of the server and the instance."""

    server: int
    server_text: str
    encoding: str
    schema: int | None
    """The schema's number; None if there is none."""
    vector: str | None
    """The version of pgvector; None if the database does not have it."""
    vector_schema: str | None
    half: int | None
    halves: int | None
    exists: bool
    """Whether the schema holds an instance."""

    def check(self, url: str) -> None:
        """Raise if the server cannot hold an instance.

        Raises:
            UsageError
        """
        if self.server < MINIMUM_SERVER:
            raise UsageError(f"{url} is PostgreSQL {self.server_text}, and instances need 15 or newer: upgrade it")
        if self.encoding != "UTF8":
            raise UsageError(f"the database {url} has the encoding {self.encoding}: make one with the encoding UTF8")
        if self.vector is None:
            raise UsageError(
                f"the database {url} lacks pgvector: install it on the server, then have an administrator run "
                "'CREATE EXTENSION vector' in this database"
            )
        if tuple(map(int, self.vector.split(".")[:2])) < MINIMUM_VECTOR or self.half is None:
            raise UsageError(
                f"the database {url} has pgvector {self.vector}, and instances need 0.8 or newer: install it, then "
                "have an administrator run 'ALTER EXTENSION vector UPDATE'"
            )


def command_name() -> str:
    """What this process is, as others are told; not its arguments, which may hold what is nobody's business."""
    words = (own_process.command_line() or "").split()
    return " ".join(words[:2]) if words else "a program that uses imgsearch"


@retry(
    retry=retry_if_exception(is_passing),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_exponential(multiplier=0.2, max=2.0) + wait_random(0, 0.2),
    reraise=True,
)
def _made(address: Address) -> psycopg.Connection[tuple[Any, ...]]:
    name = f"{command_name()} {os.getpid()}@{socket.gethostname()}"
    given = address.connection_options()
    options = {
        "connect_timeout": CONNECT_SECONDS,
        "fallback_application_name": name.encode()[:MAX_NAME_BYTES].decode(errors="ignore"),
        **KEEPALIVE,
        **given,
        "client_encoding": "UTF8",
    }
    return psycopg.connect(autocommit=True, **options)


def connected(address: Address) -> tuple[psycopg.Connection[tuple[Any, ...]], Facts]:
    """Connect to a database, whether it holds the instance or not.

    Raises:
        RemoteUnavailable, UsageError
    """
    with remote_errors(address):
        connection = _made(address)
        try:
            row = connection.execute(_FACTS, (address.schema, address.schema)).fetchone()
            assert row is not None
            facts = Facts(*row)
            connection.execute(_PREPARE, (address.schema, facts.vector_schema))
            if facts.half is not None and facts.halves is not None:
                halves.register(connection, facts.half, facts.halves)
        except BaseException:
            connection.close()
            raise
    return connection, facts


class Link:
    """One connection to an instance.

    Statements outside of a block, and those that begin one, are repeated on a new connection if the old one turns out
    to be lost: nothing was begun. Inside of a block a lost connection is an error, and nothing of the block is kept.

    Args:
        address: of the instance.
        prepare: called with each new connection that this makes, before it is used; takes the locks that are held as
            long as the connection.
    """

    def __init__(self, address: Address, prepare: Callable[[Link], None] = lambda _link: None) -> None:
        self.address = address
        self._prepare = prepare
        self._depth = 0
        self._is_done = False
        self.probes: int | None = None
        """What ``ivfflat.probes`` is on this connection; None: unknown."""
        self._types: dict[str, dict[str, int]] = {}
        """Types of columns, by table."""
        self._connect()

    def _connect(self) -> None:
        """Connect, and check that there is an instance.

        Raises:
            InstanceNotFound, InstanceDamaged, NewerFormat, OlderFormat, RemoteUnavailable, UsageError
        """
        url = self.address.url
        self._connection, self.facts = connected(self.address)
        self.probes = None
        self._types.clear()
        try:
            self.facts.check(url)
            if not self.facts.exists:
                raise InstanceNotFound(
                    f"there is no instance in {url}: create one with 'imgsearch init --engine {url}'"
                )
            version = self.row("SELECT max(version) FROM imgsearch_format")
            if version is None or version[0] is None:
                raise InstanceDamaged(f"the table imgsearch_format in {url} is empty: restore it from a backup")
            if version[0] > CODED_VERSION:
                raise NewerFormat(
                    f"{url} has format {version[0]}; this release supports up to {CODED_VERSION}: install a newer "
                    "imgsearch"
                )
            if version[0] < FORMAT_VERSION:
                raise OlderFormat(
                    f"{url} has format {version[0]}, older than this release's {FORMAT_VERSION}: run a command that "
                    "may write there, such as 'imgsearch check --repair'"
                )
            self._prepare(self)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection, and give back its locks."""
        self._is_done = True
        with suppress(psycopg.Error):
            self._connection.close()

    @property
    def in_block(self) -> bool:
        """Whether a transaction is open."""
        return self._depth > 0

    @property
    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        """For what has no method here."""
        return self._connection

    # Statements

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run one statement; numbers, bytes and features come in their binary form.

        Raises:
            RemoteUnavailable, StorageFull, StorageUnwritable, InstanceDamaged, InstanceLocked
        """
        with remote_errors(self.address):
            try:
                return self._execute(statement, parameters)
            except psycopg.OperationalError:
                if self._depth or self._is_done or not self._connection.closed:
                    raise
        self._connect()
        with remote_errors(self.address):
            return self._execute(statement, parameters)

    def _execute(self, statement: str, parameters: Sequence[Any]) -> psycopg.Cursor[tuple[Any, ...]]:
        # The text is put together from constants of this package; values are parameters.
        return self._connection.cursor(binary=True).execute(statement.encode(), parameters)

    def row(self, statement: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a statement."""
        return self.run(statement, parameters).fetchone()

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement."""
        return self.run(statement, parameters).fetchall()

    def run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each of many rows of parameters, in one round trip."""
        if not rows:
            return
        with remote_errors(self.address):
            self._connection.cursor().executemany(statement.encode(), rows)

    def load(self, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows, many of them by COPY, which takes a third of the time; inside of a transaction.

        Args:
            table: that takes them.
            names: of its columns.
            rows: values of these columns, as PostgreSQL's types have them.
        """
        if len(rows) < MANY:
            marks = ", ".join(["%s"] * len(names))
            self.run_many(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)
            return
        types = self._types_of(table)
        statement = f"COPY {table} ({', '.join(names)}) FROM STDIN (FORMAT binary)"
        with remote_errors(self.address), self._connection.cursor().copy(statement.encode()) as copy:
            copy.set_types([types[name] for name in names])
            for row in rows:
                copy.write_row(row)

    def _types_of(self, table: str) -> dict[str, int]:
        """The number of the type of each column."""
        found = self._types.get(table)
        if found is None:
            statement = (
                "SELECT attname, atttypid FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 "
                "AND NOT attisdropped"
            )
            found = self._types[table] = dict(self.rows(statement, (table,)))
        return found

    # Blocks

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Run a block in a transaction that reads; all of it sees the same."""
        if self._depth:  # part of a block that writes
            yield
            return
        with self._block("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"):
            yield

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block in a transaction, committed at its end, undone if the block raises.

        Raises:
            RemoteUnavailable: also if the connection is lost on the commit, which may then have come about or not.
        """
        with self._block("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE"):
            self.run(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_WRITER_SECONDS}s'")
            yield

    @contextmanager
    def _block(self, begin: str) -> Iterator[None]:
        self.run(begin)
        self._depth += 1
        try:
            yield
        except BaseException:
            self._undo()
            raise
        try:
            self._end()
        except BaseException:
            self._undo()
            raise

    def _end(self) -> None:
        try:
            with remote_errors(self.address):
                ended = self._execute("COMMIT", ()).statusmessage
        except RemoteUnavailable as error:
            raise RemoteUnavailable(
                f"the connection to {self.address.url} was lost on a commit, which may have come about or not: run the "
                "command again, which does what is left to do"
            ) from error
        if ended != "COMMIT":  # a statement of the block failed, and the block went on
            raise RemoteUnavailable(f"a commit to {self.address.url} was undone by the server: run the command again")
        self._depth -= 1

    def _undo(self) -> None:
        if not self._depth:
            return
        self._depth -= 1
        self.probes = None  # a setting of the transaction is undone as well
        with suppress(psycopg.Error):
            self._connection.rollback()
