"""Which numbers the networks calculate with on the CPU: what the processor is best at, or what the user asks for.

``f32`` and ``bf16`` are OpenVINO's. ``int8`` is another graph of the embedded models, with most convolutions in bytes;
the rest of it, and every other model, calculates in the processor's own of the two.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Final

from imgsearch.errors import DeviceUnusable, UsageError
from imgsearch.vision.openvino_compat import load_openvino

__all__ = [
    "BF16",
    "F32",
    "INT8",
    "PRECISIONS",
    "VARIABLE",
    "asked_precision",
    "check_precision",
    "has_bfloat16",
    "has_vnni",
    "usable_precisions",
    "uses_int8",
]

VARIABLE: Final = "IMGSEARCH_PRECISION"
F32: Final = "f32"
BF16: Final = "bf16"
INT8: Final = "int8"
PRECISIONS: Final = (F32, BF16, INT8)
PROCESSOR: Final = Path("/proc/cpuinfo")
VNNI: Final = frozenset({"avx512_vnni", "avx_vnni"})
"""Flags of processors that multiply bytes and add them up in one instruction; those with AMX have it, too."""


def asked_precision() -> str | None:
    """``IMGSEARCH_PRECISION``, or None: what the processor is best at.

    Raises:
        UsageError: it names no precision.
    """
    asked = os.environ.get(VARIABLE) or None
    if asked is not None and asked not in PRECISIONS:
        raise UsageError(
            f"{VARIABLE} is {asked!r}: give {F32}, {BF16} or {INT8}, or unset it and the processor's own is used"
        )
    return asked


def has_bfloat16() -> bool:
    """Whether the processor calculates in bfloat16; this imports OpenVINO."""
    return "BF16" in load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def has_vnni() -> bool:
    """Whether the processor is made for calculating with bytes, as Linux tells; elsewhere False.

    OpenVINO lists int8 among the capabilities of all processors. Without VNNI it is no faster, and sums that overflow
    make other numbers of it.
    """
    try:
        with PROCESSOR.open(encoding="ascii", errors="replace") as told:
            flags = next((line for line in told if line.startswith("flags")), "")
    except OSError:
        return False
    return not VNNI.isdisjoint(flags.split())


def check_precision() -> str | None:
    """``asked_precision``, which this processor has: OpenVINO would take another one without a word.

    Raises:
        UsageError: the variable names no precision.
        DeviceUnusable: the processor does not have it.
    """
    asked = asked_precision()
    if asked == BF16 and not has_bfloat16():
        raise DeviceUnusable(
            f"{VARIABLE} is {BF16}, and this processor has no bfloat16: give {F32}, or unset it, which is the same here"
        )
    if asked == INT8 and not has_vnni():
        raise DeviceUnusable(
            f"{VARIABLE} is {INT8}, and this processor has no VNNI: give {F32}, or unset it and the processor's own is "
            "used"
        )
    return asked


def uses_int8() -> bool:
    """Whether models that have a graph in int8 are to run in it.

    Raises:
        UsageError, DeviceUnusable: as for ``check_precision``.
    """
    asked = check_precision()
    return asked == INT8 or (asked is None and has_vnni())


def usable_precisions() -> list[str]:
    """Those of this processor, the one that it takes by itself first."""
    return [*([INT8] if has_vnni() else []), *([BF16] if has_bfloat16() else []), F32]
