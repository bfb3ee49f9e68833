"""The configuration file: defaults of options, and names of instances.

A value of the file stands in for an environment variable that is not set, so the precedence is: option, environment
variable, file, built-in value.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from imgsearch.cli.output import FORMAT_VARIABLE
from imgsearch.errors import UsageError
from imgsearch.locations import CACHE_VARIABLE, INSTANCE_VARIABLE, configuration_file
from imgsearch.storage.backends import is_remote, located

__all__ = ["CONFIG_VARIABLE", "SETTINGS", "Configuration", "Setting", "active", "load"]

CONFIG_VARIABLE: Final = "IMGSEARCH_CONFIG"
INSTANCES: Final = "instances"
INT64: Final = range(-(2**63), 2**63)
MAX_SHOWN_CHARS: Final = 80


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting: a key of the file, and an environment variable."""

    variable: str
    help: str
    type: type[int | float | str] = str
    is_path: bool = False
    """Relative to the folder of the file; ``~`` is the user's home."""

    def text(self, value: Any) -> str | None:
        """A value of the file as text; None if it has the wrong type."""
        if isinstance(value, bool) or not isinstance(value, (int, float) if self.type is float else self.type):
            return None
        if isinstance(value, int) and value not in INT64:  # Python refuses to print the largest
            return None
        return str(value)


SETTINGS: Final = {
    "instance": Setting(INSTANCE_VARIABLE, "the instance: a folder, an address or a name in [instances]"),
    "cache": Setting(CACHE_VARIABLE, "the folder of prepared networks", is_path=True),
    "format": Setting(FORMAT_VARIABLE, "the output format: table, json, jsonl or paths"),
    "workers": Setting("IMGSEARCH_WORKERS", "pictures processed at once", int),
    "device": Setting("IMGSEARCH_DEVICE", "cpu, cuda or cuda:N"),
    "precision": Setting("IMGSEARCH_PRECISION", "f32 or bf16: precision of the networks on the CPU"),
    "lock-timeout": Setting("IMGSEARCH_LOCK_TIMEOUT", "seconds to wait for another writer", float),
}
"""By their keys in the file."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A loaded file; without one, empty."""

    path: Path | None
    """None for a user without a home directory."""
    exists: bool = False
    values: dict[str, str] = field(default_factory=dict)
    """Settings, as their variables would have them."""
    instances: dict[str, str] = field(default_factory=dict)
    """Folders or addresses of instances by name."""
    applied: set[str] = field(default_factory=set)
    """Variables that ``apply`` has set."""

    def apply(self) -> None:
        """Set the variables that the environment does not set."""
        for name, value in self.values.items():
            variable = SETTINGS[name].variable
            if not os.environ.get(variable):
                os.environ[variable] = value
                self.applied.add(variable)

    def folder(self, given: str | Path) -> Path:
        """The folder of an instance that is given by its name, its path or its address; a name comes first.

        Raises:
            UsageError: an address is not valid.
        """
        return located(self.instances.get(str(given), given))


_active = Configuration(None)


def active() -> Configuration:
    """The configuration of this process, as loaded at its start."""
    return _active


def load(given: Path | None) -> Configuration:
    """Load a file, and make it the configuration of this process; the environment is not changed.

    Args:
        given: the file; None: ``IMGSEARCH_CONFIG``, else ``imgsearch/config.toml`` in the user's configuration folder,
            which need not exist.

    Raises:
        UsageError: it cannot be read, is not TOML, or has an unknown key or a value of the wrong type.
    """
    global _active  # noqa: PLW0603  # there is one command line
    named = given or (Path(variable) if (variable := os.environ.get(CONFIG_VARIABLE)) else None)
    path = named or configuration_file()
    _active = Configuration(None) if path is None else _read(path, must_exist=named is not None)
    return _active


def _read(path: Path, *, must_exist: bool) -> Configuration:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if must_exist:
            raise UsageError(f"there is no configuration file {path}") from None
        return Configuration(path)
    except OSError as error:
        raise UsageError(f"the configuration file {path} cannot be read: {error.strerror}") from None
    import tomllib

    try:
        text = content.decode()
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the configuration file {path} is not valid TOML: {error}") from None
    values = {}
    for key, value in document.items():
        if key == INSTANCES and isinstance(value, dict):
            continue
        setting = SETTINGS.get(key)
        if setting is None:
            known = ", ".join((*SETTINGS, f"[{INSTANCES}]"))
            raise UsageError(f"{_place(path, text, key)}: unknown key {_shown(key)}; known are: {known}")
        place = _place(path, text, key)
        given = setting.text(value)
        if given is None:
            raise UsageError(f"{place}: {key} is {_shown(value)}; it must be {_TYPES[setting.type]}")
        values[key] = _absolute(path, given, place) if setting.is_path else given
    instances = {}
    for name, value in document.get(INSTANCES, {}).items():
        place = _place(path, text, name)
        if not isinstance(value, str):
            raise UsageError(f"{place}: instance {name!r} is {_shown(value)}; it must be a folder or an address")
        instances[name] = value if is_remote(value) else _absolute(path, value, place)
    return Configuration(path, True, values, instances)


_TYPES: Final = {int: "a whole number of 64 bits", float: "a number", str: "text in quotes"}


def _absolute(path: Path, given: str, place: str) -> str:
    """A path in the file, relative to the file's folder.

    Raises:
        UsageError: it begins with the home directory of a user who has none.
    """
    try:
        return str(path.absolute().parent / Path(given).expanduser())
    except RuntimeError:
        raise UsageError(f"{place}: there is no home directory for {_shown(given)}") from None


def _shown(value: object) -> str:
    """A value in a message."""
    try:
        text = repr(value)
    except ValueError:  # in hexadecimal, a number may have more digits than Python prints
        return "a number with thousands of digits"
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"


def _place(path: Path, text: str, key: str) -> str:
    """File and line of a key; the library that parses the file does not tell the line."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.partition("=")[0].strip().strip("[]\"'").partition(".")[0].strip(" \"'") == key:
            return f"{path}, line {number}"
    return str(path)
