"""What the base installation leaves out, and which ``pip install`` brings it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

__all__ = [
    "CUDA_EXTRA",
    "HEIF_EXTRA",
    "MCP_EXTRA",
    "MODELS_EXTRA",
    "SERVE_EXTRA",
    "is_installed",
    "missing_packages",
    "pip_install",
]

MODELS_EXTRA: Final = "models"
"""Any model that is not embedded, its conversion, and training."""
CUDA_EXTRA: Final = "cuda"
"""Running the networks on a GPU."""
HEIF_EXTRA: Final = "heif"
"""HEIC pictures."""
MCP_EXTRA: Final = "mcp"
"""Serving agents."""
SERVE_EXTRA: Final = "serve"
"""The HTTP server."""
PACKAGES: Final = ("torch", "timm")
"""What the first two consist of."""


def missing_packages() -> list[str]:
    """Those of torch and timm that are not installed; nothing is imported."""
    return [name for name in PACKAGES if not is_installed(name)]


def is_installed(name: str) -> bool:
    """Whether a package can be imported; it is not."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def pip_install(extra: str) -> str:
    """The command that brings an extra."""
    return f"pip install 'imgsearch-local[{extra}]'"
