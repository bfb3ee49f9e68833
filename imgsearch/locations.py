"""Default locations: the instance, the model cache, the log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from imgsearch.errors import UsageError

__all__ = [
    "CACHE_VARIABLE",
    "INSTANCE_VARIABLE",
    "cache_folder",
    "configuration_file",
    "default_instance",
    "log_file",
    "server_folder",
]

INSTANCE_VARIABLE: Final = "IMGSEARCH_INSTANCE"
CACHE_VARIABLE: Final = "IMGSEARCH_CACHE"
APPLICATION: Final = "imgsearch"


def default_instance() -> Path:
    """``IMGSEARCH_INSTANCE``, else the folder ``default`` in the user's data directory.

    Raises:
        UsageError: the user has no home directory.
    """
    given = os.environ.get(INSTANCE_VARIABLE)
    if given:
        return Path(given)
    return _user_folder("data", INSTANCE_VARIABLE) / "default"


def cache_folder() -> Path:
    """``IMGSEARCH_CACHE``, else the user's cache directory: for converted models, which can be rebuilt.

    Raises:
        UsageError: the user has no home directory.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return _user_folder("cache", CACHE_VARIABLE)


def server_folder() -> Path:
    """The folder ``serve`` in the user's data directory: for the tasks of a server.

    Raises:
        UsageError: the user has no home directory.
    """
    return _user_folder("data", "HOME") / "serve"


def configuration_file() -> Path | None:
    """``imgsearch/config.toml`` in the user's configuration directory; None for a user without a home directory."""
    try:
        return _user_folder("config", "HOME") / "config.toml"
    except UsageError:
        return None


def log_file() -> Path:
    """The log file for traces of unexpected errors.

    Raises:
        UsageError: the user has no home directory.
    """
    return _user_folder("log", "HOME") / "imgsearch.log"


def _user_folder(purpose: str, variable: str) -> Path:
    import platformdirs

    try:
        return Path(getattr(platformdirs, f"user_{purpose}_path")(APPLICATION, appauthor=False))
    except RuntimeError:  # neither HOME nor an entry in the list of users, as in some containers
        other = "" if variable == "HOME" else f", or {variable} to a folder"
        raise UsageError(f"this user has no home directory for {purpose} files: set HOME{other}") from None
