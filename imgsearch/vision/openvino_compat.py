"""OpenVINO's Python bindings, imported in the one way that is quick, sends nothing and cannot deadlock."""

from __future__ import annotations

import locale
import sys
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["keeping_locale", "load_openvino", "openvino_version", "without_telemetry"]

CONVERTER: Final = "openvino.tools.ovc"
TELEMETRY: Final = "openvino_telemetry"
METADATA: Final = "openvino-{}.dist-info"
"""The folder of the package's metadata, by its version."""

_loading = Lock()


def load_openvino() -> Any:
    """Import OpenVINO without its reporting, and have its bindings look up NumPy's interface before two threads can.

    Importing it brings in the converter of models, which takes longer than all the rest together (0.1 s) and which only
    a conversion needs; that imports it by its own name.

    The import alone would also tell OpenVINO's makers that it was imported, and keep an identifier of this machine's
    user in the home folder; without the module that does so there is nothing to report with. The bindings look up NumPy
    at their first array, inside a C++ static whose guard is taken with the GIL held and released in between: two
    threads that meet there wait for each other for ever (seen with 2026.4.1).
    """
    with _loading:
        with without_telemetry(), _without_the_converter():
            import openvino

        openvino.Type.u8.to_dtype()
    return openvino


@cache
def openvino_version() -> str:
    """Of the installed package; it is not imported for this.

    The folder of its metadata says it in its name (https://packaging.python.org/specifications/recording-installed-packages).
    ``importlib.metadata`` says the same, but imports dozens of modules, which every search would wait for.
    """
    package = find_spec("openvino")
    if package is not None and package.origin is not None:
        names = [path.name for path in Path(package.origin).parents[1].glob(METADATA.format("*"))]
        if len(names) == 1:
            before, after = METADATA.split("{}")
            return names[0].removeprefix(before).removesuffix(after)
    from importlib.metadata import version

    return version("openvino")


@contextmanager
def _without_the_converter() -> Iterator[None]:
    """A block in which OpenVINO goes without its converter, as it does where that is not installed."""
    with _without(CONVERTER, unless=(CONVERTER, "openvino")):
        yield


@contextmanager
def without_telemetry() -> Iterator[None]:
    """A block in which what OpenVINO loads reports nothing: as where the package for that is not installed.

    Behind it, other parts of the program may import that package as ever.
    """
    with _without(TELEMETRY, unless=(TELEMETRY,)):
        yield


@contextmanager
def _without(name: str, unless: tuple[str, ...]) -> Iterator[None]:
    """A block in which a module cannot be imported, unless one of some modules is there already."""
    if any(module in sys.modules for module in unless):
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop(name, None)


_keeping = Lock()
_kept: list[str] = []
"""The process's locale, once for each thread that keeps it."""


@contextmanager
def keeping_locale() -> Iterator[None]:
    """A block after which the process's locale is what it was, with any number of threads inside.

    OpenVINO reads a model in the locale ``C`` and then sets back what it found: two threads that do so at once leave
    ``C`` behind, and Python would read and write files in ASCII from then on.
    """
    with _keeping:
        _kept.append(_kept[0] if _kept else locale.setlocale(locale.LC_ALL))
    try:
        yield
    finally:
        with _keeping:
            kept = _kept.pop()
            if not _kept:
                locale.setlocale(locale.LC_ALL, kept)
