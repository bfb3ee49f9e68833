"""Addresses of an index in Milvus: ``milvus://HOST[:PORT][/DATABASE][?…]``, with TLS ``milvuss://…``.

An address is stored and shown, so it never has credentials: these come from the environment, at each connection.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from imgsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TOKEN_VARIABLE", "MilvusAddress", "is_milvus"]

PLAIN: Final = "milvus"
TLS: Final = "milvuss"
PORT: Final = 19530
TOKEN_VARIABLE: Final = "IMGSEARCH_MILVUS_TOKEN"  # noqa: S105  # a name, no secret
"""The environment variable with ``USER:PASSWORD`` or an API key."""
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
"""Names that Milvus accepts, short enough for the number of a generation behind them."""
MAX_TIMEOUT_S: Final = 600.0
MAX_REPLICAS: Final = 64
FORM: Final = f"{PLAIN}://HOST[:{PORT}][/DATABASE][?collection=NAME]"


def is_milvus(address: str) -> bool:
    """Whether an address is meant as one of Milvus."""
    return address.partition("://")[0] in (PLAIN, TLS)


@dataclass(frozen=True, slots=True)
class MilvusAddress:
    """Where an index is.

    The fields with defaults are the parameters that an address may have.
    """

    host: str
    port: int
    database: str
    """Empty: the server's default."""
    tls: bool
    collection: str = ""
    """What the names of its collections begin with; empty: to be chosen."""
    timeout: float = 5.0
    """Seconds that a search may take."""
    replicas: int = 1
    """How many query nodes hold each vector."""
    ca: str = ""
    """A file with the certificates to trust; empty: those of the system."""

    @classmethod
    def parse(cls, text: str) -> MilvusAddress:
        """Parse an address.

        Raises:
            UsageError: it is not one, or has credentials.
        """
        if not text.isprintable():  # bytes that are no text among them
            raise UsageError(f"an address of Milvus is {FORM}; this one has characters of no address: {text[:200]!a}")
        try:
            parts = urlsplit(text)
            port = PORT if parts.port is None else parts.port
        except ValueError as error:
            raise UsageError(f"an address of Milvus is {FORM}; this one has {error}") from None
        if "@" in parts.netloc:
            raise UsageError(
                "an address of Milvus is stored, so it must not have a user or password: "
                f"set the environment variable {TOKEN_VARIABLE} to USER:PASSWORD instead"
            )
        database = unquote(parts.path.removeprefix("/").removesuffix("/"))
        if not is_milvus(text) or not parts.hostname or not port or parts.fragment:
            raise UsageError(f"an address of Milvus is {FORM}, not {text!r}")
        if database and not NAME.fullmatch(database):
            raise UsageError(f"{database!r} cannot be the name of a database of Milvus: {_RULE}")
        given = cls(parts.hostname, port, database, parts.scheme == TLS)
        return replace(given, **_parameters(parts.query, given.tls))

    def named(self) -> MilvusAddress:
        """With a name of its collections of its own, unless it has one."""
        return self if self.collection else replace(self, collection=f"imgsearch_{secrets.token_hex(6)}")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        given = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name in _PARAMETERS and getattr(self, field.name) != field.default
        }
        query = f"?{urlencode(given, quote_via=quote, safe='/')}" if given else ""
        return f"{TLS if self.tls else PLAIN}://{host}:{self.port}{f'/{self.database}' if self.database else ''}{query}"

    @property
    def server(self) -> str:
        """Host and port, for messages."""
        return f"{self.host}:{self.port}"

    @property
    def uri(self) -> str:
        """As pymilvus wants it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


_RULE: Final = "letters, digits and underscores, not beginning with a digit"


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(_RULE)
    return value


def _timeout(value: str) -> float:
    seconds = float(value)
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise ValueError(f"seconds, at most {MAX_TIMEOUT_S:g}")
    return seconds


def _replicas(value: str) -> int:
    count = int(value)
    if not 1 <= count <= MAX_REPLICAS:
        raise ValueError(f"a number from 1 to {MAX_REPLICAS}")
    return count


def _file(value: str) -> str:
    if not Path(value).is_absolute():
        raise ValueError("an absolute path")
    return value


_PARAMETERS: Final[dict[str, Callable[[str], Any]]] = {
    "collection": _name,
    "timeout": _timeout,
    "replicas": _replicas,
    "ca": _file,
}


def _parameters(query: str, tls: bool) -> dict[str, Any]:
    """The values of an address's parameters, by name.

    Raises:
        UsageError
    """
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _PARAMETERS:
            raise UsageError(f"an address of Milvus has no parameter {name!r}; known are {', '.join(_PARAMETERS)}")
        if name in found:
            raise UsageError(f"the parameter {name!r} stands in the address of Milvus twice")
        try:
            found[name] = _PARAMETERS[name](value)
        except ValueError as error:
            raise UsageError(f"the parameter {name!r} of an address of Milvus is wrong ({value!r}): {error}") from None
    if "ca" in found and not tls:
        raise UsageError(f"the parameter 'ca' needs TLS: begin the address with {TLS}://")
    return found
