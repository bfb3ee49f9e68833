"""The device that stands for a GPU in tests: torch on the CPU, which ``--help`` does not offer."""

from __future__ import annotations

from typing import Final

import pytest

from imgsearch.vision.devices import Device
from imgsearch.vision.precision import has_bfloat16

__all__ = ["BF16", "NEEDS_BF16", "TORCH"]

BF16: Final = "torch:cpu+bf16"

TORCH: Final = Device.parse(BF16 if has_bfloat16() else "torch:cpu")
"""In bfloat16, as on a GPU, where the processor has it. Emulated, it takes ten seconds a picture instead of a tenth."""

NEEDS_BF16: Final = pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16, only emulates it")
