"""Access keys: who may ask, for which instances, and whether they may write."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imgsearch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ANYBODY", "AccessKey", "KeyRing", "new_key"]

ALL: Final = "*"
RIGHTS: Final = ("read", "write")
FIELDS: Final = frozenset({"id", "secret", "instances", "rights"})
MIN_SECRET: Final = 16
ID_PATTERN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One key and its rights."""

    id: str
    secret: str
    instances: frozenset[str]
    """Names of instances; ``*`` stands for all."""
    may_write: bool

    def may_use(self, instance: str) -> bool:
        """Whether the key may read an instance."""
        return ALL in self.instances or instance in self.instances

    def __repr__(self) -> str:
        return f"AccessKey({self.id!r})"


ANYBODY: Final = AccessKey("anybody", "", frozenset({ALL}), may_write=True)
"""Of requests to a server without keys."""


class KeyRing:
    """The keys of a file, which can be read again while the server runs; thread-safe.

    Args:
        path: a TOML file with ``[[key]]`` tables; readable by its owner only.

    Raises:
        UsageError: it is missing, readable by others, or malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._keys = _read(path)
        self._dummy = AccessKey("", secrets.token_hex(16), frozenset(), may_write=False)

    def reload(self) -> int:
        """Read the file again; how many keys it has.

        Raises:
            UsageError: the keys stay as they were.
        """
        self._keys = _read(self.path)
        return len(self._keys)

    def find(self, key_id: str) -> AccessKey | None:
        """The key of an id."""
        return self._keys.get(key_id)

    def all(self) -> list[AccessKey]:
        """All keys."""
        return list(self._keys.values())

    def find_or_dummy(self, key_id: str) -> AccessKey:
        """The key of an id; for an unknown one a key whose secret nobody has, so that both take the same time."""
        return self._keys.get(key_id, self._dummy)

    def login(self, key_id: str, secret: str) -> AccessKey | None:
        """The key with this id and secret."""
        key = self.find_or_dummy(key_id)
        return key if hmac.compare_digest(key.secret.encode(), secret.encode()) and key is not self._dummy else None


def new_key(key_id: str) -> str:
    """A table with a new secret, to append to a file of keys.

    Raises:
        UsageError: the id has other characters than letters, digits, ``.``, ``_`` and ``-``.
    """
    if not ID_PATTERN.fullmatch(key_id):
        raise UsageError(f"key id {key_id[:80]!r} is not 1 to 64 letters, digits, '.', '_' or '-'")
    return f'[[key]]\nid = "{key_id}"\nsecret = "{secrets.token_urlsafe(30)}"\ninstances = ["*"]\nrights = "read"\n'


def _read(path: Path) -> dict[str, AccessKey]:
    try:
        with open(path, "rb") as file:
            _check_private(path, file.fileno())
            document = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"the key file {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is no error of TOML's
        raise UsageError(f"the key file {path} is not valid TOML: {error}") from None
    unknown = sorted(set(document) - {"key"})
    tables = document.get("key")
    if unknown or not isinstance(tables, list) or not tables:
        what = f"has an unknown entry {unknown[0][:40]!r}" if unknown else "has no [[key]] table"
        raise UsageError(f"the key file {path} {what}: 'imgsearch serve --new-key ID' prints one to append")
    keys: dict[str, AccessKey] = {}
    for number, table in enumerate(tables, 1):
        key = _key(table, f"{path}, key {number}")
        if key.id in keys:
            raise UsageError(f"{path}, key {number}: the id {key.id!r} is there twice")
        keys[key.id] = key
    return keys


def _check_private(path: Path, descriptor: int) -> None:
    if os.name != "nt" and stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
        raise UsageError(f"other users may read the key file {path}: run 'chmod 600 {path}'")


def _key(table: object, where: str) -> AccessKey:
    """Read one table.

    Raises:
        UsageError
    """
    if not isinstance(table, dict):
        raise UsageError(f"{where}: it is no table, but a value")
    unknown = sorted(set(table) - FIELDS)
    if unknown:
        raise UsageError(f"{where}: unknown entry {unknown[0][:40]!r}; it has id, secret, instances and rights")
    key_id, secret = table.get("id"), table.get("secret")
    if not isinstance(key_id, str) or not ID_PATTERN.fullmatch(key_id):
        raise UsageError(f"{where}: id must be 1 to 64 letters, digits, '.', '_' or '-'")
    if not isinstance(secret, str) or len(secret) < MIN_SECRET:
        raise UsageError(f"{where}: secret must be text of at least {MIN_SECRET} characters")
    instances = table.get("instances")
    if not isinstance(instances, list) or not instances or not all(isinstance(name, str) for name in instances):
        raise UsageError(f'{where}: instances must be a list of names, or ["*"] for all')
    rights = table.get("rights", "read")
    if rights not in RIGHTS:
        raise UsageError(f'{where}: rights must be "read" or "write"')
    return AccessKey(key_id, secret, frozenset(instances), may_write=rights == "write")
