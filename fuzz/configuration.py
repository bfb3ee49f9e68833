"""``load``: bytes become settings and names of instances, or the file is refused."""

from __future__ import annotations

import os
from unittest.mock import patch

from fuzz.checks import USAGE, check_error
from fuzz.files import folder, replaced
from imgsearch.cli import configuration
from imgsearch.cli.configuration import CONFIG_VARIABLE, SETTINGS, active, load
from imgsearch.errors import UsageError

PATH = folder() / "config.toml"


def target(data: bytes) -> None:
    replaced(PATH, data)
    with patch.dict(os.environ, {CONFIG_VARIABLE: str(PATH)}), patch.object(configuration, "_active", active()):
        try:
            _check()
        except UsageError as error:
            check_error(error, USAGE)


def _check() -> None:
    loaded = load(None)
    assert loaded.exists
    assert active() is loaded
    assert set(loaded.values) <= set(SETTINGS)
    loaded.apply()
    assert loaded.applied <= {setting.variable for setting in SETTINGS.values()}
    for name in loaded.instances:
        loaded.folder(name)
