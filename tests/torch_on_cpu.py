"""The device that stands for a GPU in tests: torch on the CPU, which ``--help`` does not offer."""

from __future__ import annotations

from typing import Final

import pytest

from imgsearch.vision.devices import Device
from imgsearch.vision.precision import has_bfloat16

__all__ = ["BF16", "NEEDS_BF16", "TORCH"]

BF16: Final = "torch:cpu+bf16"
_HAS_BF16: Final = has_bfloat16()

TORCH: Final = Device.parse(BF16 if _HAS_BF16 else "torch:cpu")
"""In bfloat16, as on a GPU, if the processor supports it: emulating it takes seconds per picture."""

NEEDS_BF16: Final = pytest.mark.skipif(not _HAS_BF16, reason="this processor does not support bfloat16")
