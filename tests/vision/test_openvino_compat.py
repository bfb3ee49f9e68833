"""OpenVINO's bindings: imported without what is not needed, and without a trace in the process's locale."""

from __future__ import annotations

import locale
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import pytest

from imgsearch.vision import openvino_compat
from imgsearch.vision.openvino_compat import keeping_locale, openvino_version


@pytest.fixture
def fresh_version() -> Iterator[None]:
    """Nothing is remembered of the version, before and after."""
    openvino_version.cache_clear()
    yield
    openvino_version.cache_clear()


@pytest.mark.usefixtures("fresh_version")
@pytest.mark.parametrize("folder", ["openvino-{}.dist-info", "openvino-{}.elsewhere"])
def test_the_version_is_that_of_the_metadata(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """Wherever an installer has put it: it names the networks in the cache."""
    monkeypatch.setattr(openvino_compat, "METADATA", folder)
    assert openvino_version() == version("openvino")


@pytest.mark.usefixtures("fresh_version")
def test_the_version_is_read_without_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = version("openvino")
    monkeypatch.delattr("importlib.metadata.version")
    assert openvino_version() == expected


@pytest.fixture
def own() -> Iterator[str]:
    """A locale that is not ``C``."""
    before = locale.setlocale(locale.LC_ALL)
    yield locale.setlocale(locale.LC_ALL, "C.UTF-8")
    locale.setlocale(locale.LC_ALL, before)


def test_the_locale_survives_readers_that_overlap(own: str) -> None:
    """Each finds what the other has set and sets that back, which would leave ``C``."""
    first, second = ExitStack(), ExitStack()
    first.enter_context(keeping_locale())
    locale.setlocale(locale.LC_ALL, "C")
    second.enter_context(keeping_locale())
    locale.setlocale(locale.LC_ALL, own)  # the first is done
    first.close()
    locale.setlocale(locale.LC_ALL, "C")  # the second sets back what it found
    second.close()
    assert locale.setlocale(locale.LC_ALL) == own
    with keeping_locale():
        locale.setlocale(locale.LC_ALL, "C")
    assert locale.setlocale(locale.LC_ALL) == own


@pytest.mark.extended
def test_networks_loaded_side_by_side_leave_the_locale_alone(tmp_path: Path) -> None:
    """The real race, as often as it takes to see it without the guard."""
    code = """
import locale, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from imgsearch.vision.openvino_compat import load_openvino
from imgsearch.vision import runtime
openvino = load_openvino()
from openvino import opset13 as ops
folder = Path(sys.argv[1])
for number in range(4):
    parameter = ops.parameter([1, 8 + number], np.float32)
    model = openvino.Model([ops.relu(parameter)], [parameter], f"m{number}")
    openvino.save_model(model, folder / f"m{number}.xml")
locale.setlocale(locale.LC_ALL, "C.UTF-8")
with ThreadPoolExecutor(4) as threads:
    for _ in range(25):
        list(threads.map(lambda n: runtime.Graph(folder / f"m{n}.xml", parallel=False), range(4)))
        if locale.setlocale(locale.LC_CTYPE) != "C.UTF-8":
            sys.exit("the locale is " + locale.setlocale(locale.LC_CTYPE))
"""
    process = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def test_the_converter_is_kept_out_and_can_be_had() -> None:
    code = """
import sys
from imgsearch.vision.openvino_compat import load_openvino
load_openvino()
assert not [name for name in sys.modules if name.startswith("openvino.tools.ovc")]
from openvino.tools.ovc import convert_model
assert callable(convert_model)
assert load_openvino() is sys.modules["openvino"]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
