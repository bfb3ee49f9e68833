"""Networks that a search starts to load before it knows which ones it needs: those of the previous search.

Importing modules keeps one core busy, so networks are loaded on the others meanwhile. Only an open instance tells which
ones are needed, so a note in the cache names those of the last search. A search that needs others, or needs them with
other settings, loads them as usual and leaves the early ones unused.
"""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from imgsearch.vision.compile_settings import is_compiled
from imgsearch.vision.openvino_c import CompiledNetwork, library_file
from imgsearch.vision.openvino_compat import keeping_locale

__all__ = ["NOTE", "are_begun", "begin", "remember", "taken", "use"]

NOTE: Final = "last_search.json"
"""``{"networks": [{"path": of the model, "settings": OpenVINO's properties}, …]}``."""
MOST: Final = 3
"""What a search needs: a network for subjects, one for features, one for categories."""

_folders: list[Path] = []
"""Where the note is; empty in a process that has not begun early."""
_named: dict[Path, dict[str, str]] = {}
"""What the note names: models, with the settings they are compiled with."""
_begun: dict[Path, Future[CompiledNetwork]] = {}
"""Those of them that nobody has taken yet."""
_used: dict[Path, dict[str, str]] = {}
"""What this process has searched with."""


def begin(folder: Path) -> None:
    """Start loading the networks of the last search, a thread each; nothing without a note or OpenVINO's C interface.

    Args:
        folder: of the note.
    """
    _folders.append(folder)
    _named.update(_read(folder / NOTE))
    if library_file() is None:
        return
    threads = ThreadPoolExecutor(MOST, thread_name_prefix="imgsearch-early")
    for path, settings in _named.items():
        if is_compiled(settings):  # otherwise OpenVINO would compile it in place, where others look for it
            _begun[path] = threads.submit(_load, path, settings)
    threads.shutdown(wait=False)


def _load(path: Path, settings: dict[str, str]) -> CompiledNetwork:
    with keeping_locale():
        return CompiledNetwork(path, settings)


def _read(note: Path) -> dict[Path, dict[str, str]]:
    """The networks of a note; none if it cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {
            Path(network["path"]): {str(name): str(value) for name, value in network["settings"].items()}
            for network in json.loads(note.read_bytes())["networks"][:MOST]
        }
    return {}


def are_begun() -> bool:
    """Whether some were started early and not taken yet."""
    return bool(_begun)


def taken(path: Path, settings: dict[str, str]) -> CompiledNetwork | None:
    """A network that was started early with these settings, once it is loaded; None if there is none. It is given once.

    Args:
        path: of the converted model.
        settings: OpenVINO's properties, by name.
    """
    future = _begun.pop(path, None)
    if future is None or _named[path] != settings:
        return None
    with suppress(Exception):  # whatever it was, OpenVINO's package will run into it again
        return future.result()
    return None


def use(path: Path, settings: dict[str, str]) -> None:
    """Record that this process searches with a network; arguments as of ``taken``."""
    _used[path] = settings


def remember() -> None:
    """Write down for the next search what this one has used, unless the note names all of it."""
    if not _folders or _used.items() <= _named.items():
        return
    from imgsearch.durable_fs import atomic_file

    networks = [{"path": str(path), "settings": settings} for path, settings in _used.items()]
    with suppress(OSError):  # a cache may be read-only
        _folders[-1].mkdir(parents=True, exist_ok=True)  # the configuration file may name another cache
        with atomic_file(_folders[-1] / NOTE) as temporary:
            temporary.write_text(json.dumps({"networks": networks}, indent=1), encoding="utf-8")
