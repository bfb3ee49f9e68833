"""Help without the parts of Rich that it does not show: Markdown and tracebacks, most of what it takes to load."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from imgsearch.cli.words import HELP

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["prepare"]

UTILITIES: Final = "typer.rich_utils"
UNUSED: Final = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}
"""What typer takes from these modules, which are loaded once that is used."""


class _Later(type):
    """A class that stands for one of a module that is loaded once it is used."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        return cls._real()(*args, **options)

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._real(), name)

    def _real(cls) -> Any:
        return getattr(import_module(cls.__module__), cls.__name__)


def prepare(words: Sequence[str]) -> None:
    """Load what help needs, if a command line asks for help; for a process of our own."""
    if UTILITIES in sys.modules or (words and HELP.isdisjoint(words)):
        return
    held = {module: ModuleType(module) for module in UNUSED if module not in sys.modules}
    for module, placeholder in held.items():
        name = UNUSED[module]
        setattr(placeholder, name, _Later(name, (), {"__module__": module}))
    sys.modules.update(held)
    try:
        import_module(UTILITIES)
    finally:
        for module in held:
            del sys.modules[module]
