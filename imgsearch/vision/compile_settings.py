"""What OpenVINO is told when it compiles a network, and where it keeps the result.

NumPy and OpenVINO are not imported here: a search begins to load its networks before either (``early_networks``).
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Final

__all__ = ["COMPILED", "compile_settings", "is_compiled"]

COMPILED: Final = "compiled"
"""How folders begin in which OpenVINO keeps what it has compiled."""


def compile_settings(path: Path, precision: str | None, *, cores: int, parallel: bool) -> dict[str, str]:
    """OpenVINO's properties for a network, by name.

    Args:
        path: of the converted model; what compiling it gives is kept beside it.
        precision: None: OpenVINO's own choice.
        cores: to calculate on.
        parallel: one picture on each core, or one at a time on all of them.
    """
    # OpenVINO names what it compiles by the model's path alone (2026.4.1), whatever the precision. So each precision
    # has a folder of its own, and so does each path under which the cache is accessed.
    names = [COMPILED, *([] if precision is None else [precision]), _digest(path)]
    settings = {
        "CACHE_DIR": str(path.parent / "-".join(names)),
        "INFERENCE_NUM_THREADS": str(cores),
        "NUM_STREAMS": str(cores if parallel else 1),
        "ENABLE_CPU_PINNING": "NO",  # decoding threads want the same cores
        "PERFORMANCE_HINT": "THROUGHPUT" if parallel else "LATENCY",
    }
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = precision
    return settings


def is_compiled(settings: dict[str, str]) -> bool:
    """Whether compiled code for these settings is there, all of it."""
    folder = Path(settings.get("CACHE_DIR", ""))
    try:
        return folder.name.startswith(COMPILED) and folder.is_dir()
    except (OSError, ValueError):  # such as a name that is too long
        return False


def _digest(path: Path) -> str:
    """Of the path as given and of where it leads, as OpenVINO uses one or the other."""
    return sha256(os.fsencode(path) + b"\0" + os.fsencode(os.path.realpath(path))).hexdigest()[:8]
