"""What OpenVINO is told when it compiles a network, and where it keeps the result.

NumPy and OpenVINO are not imported here: a search begins to load its networks before either (``early_networks``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["COMPILED", "compile_settings", "done_mark"]

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
    settings = {
        # OpenVINO's cache does not tell precisions apart (2026.4.1): each has a folder of its own.
        "CACHE_DIR": str(path.parent / (COMPILED if precision is None else f"{COMPILED}-{precision}")),
        "INFERENCE_NUM_THREADS": str(cores),
        "NUM_STREAMS": str(cores if parallel else 1),
        "ENABLE_CPU_PINNING": "NO",  # decoding threads want the same cores
        "PERFORMANCE_HINT": "THROUGHPUT" if parallel else "LATENCY",
    }
    if precision is not None:
        settings["INFERENCE_PRECISION_HINT"] = precision
    return settings


def done_mark(settings: dict[str, str]) -> Path:
    """The file that says that a network has been compiled with these settings before."""
    folder = Path(settings["CACHE_DIR"])
    return folder.with_name(f"{folder.name}.{settings['INFERENCE_NUM_THREADS']}.{settings['NUM_STREAMS']}.done")
