"""OpenVINO's Python bindings, imported in the one way that sends nothing and cannot deadlock."""

from __future__ import annotations

import sys
from threading import Lock
from typing import Any

__all__ = ["load_openvino"]

_loading = Lock()


def load_openvino() -> Any:
    """Import OpenVINO without its reporting, and have its bindings look up NumPy's interface before two threads can.

    The import alone would tell OpenVINO's makers that it was imported, and keep an identifier of this machine's user
    in the home folder; without the module that does so there is nothing to report with. The bindings look up NumPy at
    their first array, inside a C++ static whose guard is taken with the GIL held and released in between: two threads
    that meet there wait for each other for ever (seen with 2026.4.1).
    """
    with _loading:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        openvino.Type.u8.to_dtype()
    return openvino
