"""Which numbers OpenVINO calculates with on the CPU: its own choice, or the one that the user's environment names."""

from __future__ import annotations

import os
from typing import Final

from imgsearch.errors import DeviceUnusable, UsageError
from imgsearch.vision.openvino_compat import load_openvino

__all__ = ["BF16", "F32", "PRECISIONS", "VARIABLE", "asked_precision", "check_precision", "has_bfloat16"]

VARIABLE: Final = "IMGSEARCH_PRECISION"
F32: Final = "f32"
BF16: Final = "bf16"
PRECISIONS: Final = (F32, BF16)


def asked_precision() -> str | None:
    """``IMGSEARCH_PRECISION`` as OpenVINO names it, or None: OpenVINO takes bfloat16 where the processor has it.

    Raises:
        UsageError: it names no precision.
    """
    asked = os.environ.get(VARIABLE) or None
    if asked is not None and asked not in PRECISIONS:
        raise UsageError(
            f"{VARIABLE} is {asked!r}: give {F32} or {BF16}, or unset it and the processor's own precision is used"
        )
    return asked


def has_bfloat16() -> bool:
    """Whether the processor calculates in bfloat16; this imports OpenVINO."""
    return "BF16" in load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


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
    return asked
