"""Default locations: the instance, the model cache, the log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["CACHE_VARIABLE", "INSTANCE_VARIABLE", "cache_folder", "configuration_file", "default_instance", "log_file"]

INSTANCE_VARIABLE: Final = "IMGSEARCH_INSTANCE"
CACHE_VARIABLE: Final = "IMGSEARCH_CACHE"
APPLICATION: Final = "imgsearch"


def default_instance() -> Path:
    """``IMGSEARCH_INSTANCE``, else the folder ``default`` in the user's data directory."""
    given = os.environ.get(INSTANCE_VARIABLE)
    if given:
        return Path(given)
    from platformdirs import user_data_path

    return user_data_path(APPLICATION, appauthor=False) / "default"


def cache_folder() -> Path:
    """``IMGSEARCH_CACHE``, else the user's cache directory: for converted models, which can be rebuilt."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    from platformdirs import user_cache_path

    return user_cache_path(APPLICATION, appauthor=False)


def configuration_file() -> Path:
    """``imgsearch/config.toml`` in the user's configuration directory."""
    from platformdirs import user_config_path

    return user_config_path(APPLICATION, appauthor=False) / "config.toml"


def log_file() -> Path:
    """The log file for traces of unexpected errors."""
    from platformdirs import user_log_path

    return user_log_path(APPLICATION, appauthor=False) / "imgsearch.log"
