"""The address of an instance in PostgreSQL: a URL as libpq knows it, and the schema of the database that it lies in.

Several instances may lie in one database, each in a schema of its own (``?schema=shop``). An address without its
password may be stored and printed; the password stays in this process (or in ``PGPASSWORD`` or ``~/.pgpass``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl, quote, urlencode

from imgsearch.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["EXTRA", "Address", "RemotePlace", "driver"]

EXTRA: Final = "pip install 'imgsearch-local[postgres]'"
"""The command that brings what this package needs."""
SCHEMA: Final = "schema"
DEFAULT_SCHEMA: Final = "imgsearch"
SCHEMA_NAME: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
PLAIN_HOSTS: Final = re.compile(r"(?!\.$)[A-Za-z0-9._,-]+|[0-9A-Fa-f.:]*:[0-9A-Fa-f.:]*")
"""What may stand in front of the database; of a path, a single dot is no part."""
SECRETS: Final = ("password", "sslpassword", "oauth_client_secret")
"""Parameters that are never stored or printed."""

_passwords: dict[str, dict[str, str]] = {}
"""By the address, for as long as this process lives."""


class RemotePlace(type(Path())):  # type: ignore[misc]  # the class of paths of this system
    """An address where the path of an instance's folder is expected; it is printed as it was given."""

    def __str__(self) -> str:
        return str(super().__str__()).replace(":/", "://", 1)

    @property
    def name(self) -> str:
        """The schema."""
        return str(self).rpartition(f"{SCHEMA}=")[2]

    def resolve(self, strict: bool = False) -> Self:  # noqa: ARG002  # as the class of paths has it
        """It has one form."""
        return self

    def absolute(self) -> Self:
        """It is."""
        return self


def driver() -> ModuleType:
    """psycopg, which the base installation leaves out.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import psycopg
    except ImportError as error:
        raise UsageError(f"instances in PostgreSQL need psycopg ({error}): install it with {EXTRA}") from None
    return psycopg


@dataclass(frozen=True, slots=True)
class Address:
    """Where an instance lies."""

    parameters: tuple[tuple[str, str], ...]
    """Of libpq, without secrets."""
    schema: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a URL; what is secret in it is remembered by this process.

        Raises:
            UsageError: it is no valid URL, or psycopg is not installed.
        """
        psycopg = driver()
        if not text.isprintable():  # bytes that are no text among them
            raise UsageError(f"the address of the database, {_without_secrets(text)!a}, has characters of no address")
        rest, _, query = text.partition(":/")[2].partition("?")
        rest = f"/{rest}" if rest.startswith("/") else f"//{rest}"  # as a path, it has lost one of its slashes
        pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)  # to libpq, a plus is no space
        schema = dict(pairs).get(SCHEMA, DEFAULT_SCHEMA)
        others = urlencode([pair for pair in pairs if pair[0] != SCHEMA], quote_via=quote)
        try:
            given = psycopg.conninfo.conninfo_to_dict(f"postgresql:{rest}{'?' if others else ''}{others}")
            _check_ports(str(given.get("port") or ""))
        except (psycopg.Error, ValueError):  # its message quotes the text, with its password
            raise UsageError(
                f"the address of the database, {_without_secrets(text)!r}, is not valid: write it as "
                "postgresql://USER@HOST:PORT/DATABASE?schema=NAME"
            ) from None
        if not SCHEMA_NAME.fullmatch(schema):
            raise UsageError(
                f"the schema {schema!r} in the address of the database is not a name of small letters, digits and "
                "underscores, at most 63 of them"
            )
        values = {name: str(value) for name, value in given.items() if value not in (None, "")}
        secrets = {name: values.pop(name) for name in SECRETS if name in values}
        made = cls(tuple(sorted(values.items())), schema)
        if secrets:
            _passwords[made.url] = secrets
        return made

    @property
    def url(self) -> str:
        """The address without secrets; each address has one form."""
        values = dict(self.parameters)
        user = quote(values.pop("user", ""), safe="")
        hosts = values.get("host", "")
        in_front = ""
        if PLAIN_HOSTS.fullmatch(hosts):
            del values["host"]
            ports = values.pop("port", "").split(",")
            names = hosts.split(",")
            ports = ports * len(names) if len(ports) == 1 else ports
            in_front = ",".join(
                f"{f'[{name}]' if ':' in name else name}{f':{port}' if port else ''}"
                for name, port in zip(names, ports, strict=False)
            )
        database = quote(values.pop("dbname", ""), safe="")
        query = urlencode([*sorted(values.items()), (SCHEMA, self.schema)], quote_via=quote, safe="")
        # Never empty before the database's name: as a path, it would lose one of its slashes.
        front = f"{user}@{in_front}" if user or not in_front else in_front
        return f"postgresql://{front}/{database}?{query}"

    @property
    def has_secret(self) -> bool:
        """Whether this process was given a password with it."""
        return self.url in _passwords

    @property
    def place(self) -> Path:
        """The address, where the path of an instance's folder is expected."""
        return RemotePlace(self.url)

    def connection_options(self) -> dict[str, Any]:
        """What libpq is to be given, secrets included."""
        return {**dict(self.parameters), **_passwords.get(self.url, {})}


def _check_ports(ports: str) -> None:
    """Raise ValueError unless each is a number: libpq takes what it does not understand of an address for a port."""
    if any(port and not (port.isascii() and port.isdigit()) for port in ports.split(",")):
        raise ValueError


def _without_secrets(text: str) -> str:
    hidden = re.sub(r"(:/+)[^/]*@", r"\1…@", text)
    return re.sub(rf"({'|'.join(SECRETS)})=[^&]*", r"\1=…", hidden)
