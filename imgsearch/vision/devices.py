"""Where the networks run: what devices are called, and whether one can be used on this machine.

The CPU is OpenVINO's, which every command uses; any other device is torch's, which takes seconds to import, so nothing
here imports it before such a device is asked for.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

from imgsearch.errors import DeviceUnusable, UsageError
from imgsearch.vision.extras import CUDA_EXTRA, missing_packages, pip_install
from imgsearch.vision.precision import asked_precision, check_precision

if TYPE_CHECKING:
    import torch

__all__ = ["CPU", "CPU_LABEL", "HINT", "MAX_BATCH", "Device"]

CPU: Final = "cpu"
CPU_LABEL: Final = "cpu (openvino)"
CUDA: Final = "cuda"
NAMES: Final = re.compile(r"cpu|(?P<gpu>cuda(:\d{1,3})?)|torch:(?P<other>[a-z]+(:\d{1,3})?)(?P<bfloat16>\+bf16)?")
HINT: Final = "leave out --device to use the CPU"
MAX_BATCH: Final = 64
"""Pictures that go through a network together on a device of torch, at most."""


@dataclass(frozen=True)
class Device:
    """A device, whether or not it is there.

    For tests and studies there is more than the command line offers: ``torch:NAME`` is any device that torch knows, the
    CPU included, and ``torch:NAME+bf16`` has it calculate in bfloat16.
    """

    name: str
    """As people give it."""
    torch_name: str | None = None
    """As torch calls it; None: the CPU, by OpenVINO."""
    asks_bfloat16: bool = False

    @classmethod
    def parse(cls, name: str) -> Self:
        """The device of that name.

        Raises:
            UsageError: nothing is called that.
        """
        match = NAMES.fullmatch(name)
        if match is None:
            raise UsageError(f"{name!r} is no device: the networks run on cpu, cuda, or cuda:N for the GPU number N")
        return cls(name, match["gpu"] or match["other"], match["bfloat16"] is not None)

    @property
    def is_torch(self) -> bool:
        """Whether it is torch that runs the networks there."""
        return self.torch_name is not None

    def check(self) -> None:
        """Refuse a device that cannot be used on this machine; of the CPU, the precision that was asked for.

        Raises:
            DeviceUnusable: it says what is missing.
            UsageError: ``IMGSEARCH_PRECISION`` names no precision.
        """
        if self.torch_name is None:
            check_precision()
            return
        if missing := missing_packages():
            raise DeviceUnusable(
                f"{self.name} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
                f"installed: {pip_install(CUDA_EXTRA)} brings what is needed, or {HINT}"
            )
        try:
            import torch
        except Exception as error:
            raise DeviceUnusable(f"{self.name} needs torch, which cannot be imported ({error}): {HINT}") from None
        if self.is_cuda:
            self._check_cuda()
        try:
            # What is listed may still refuse to work: a GPU that this build has no kernels for, or that is taken.
            (torch.ones(1, device=self.torch_name) + 1).item()
        except Exception as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise DeviceUnusable(f"{self.name} does not work ({reason}): {HINT}") from None

    def _check_cuda(self) -> None:
        import torch

        if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
            raise DeviceUnusable(
                f"{self.name} needs a torch that is built with CUDA, which the one installed, {torch.__version__}, is "
                f"not: install such a build, or {HINT}"
            )
        with warnings.catch_warnings(record=True) as caught:  # torch says there what it does not like about the driver
            warnings.simplefilter("always")
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            reason = f" ({str(caught[0].message).partition(chr(10))[0][:200]})" if caught else ""
            raise DeviceUnusable(
                f"{self.name} needs a GPU and its driver, and torch finds none{reason}: "
                f"see whether 'nvidia-smi' lists one, or {HINT}"
            )
        number = int((self.torch_name or "").partition(":")[2] or 0)
        if number >= count:
            known = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0"
            raise DeviceUnusable(f"there is no {self.name}, only {known}: name another one, or {HINT}")

    @property
    def is_cuda(self) -> bool:
        """Whether it is a GPU that torch drives by CUDA."""
        return self.torch_name is not None and self.torch_name.startswith(CUDA)

    @property
    def torch_device(self) -> torch.device:
        """For torch; the device is one of torch's."""
        import torch

        assert self.torch_name is not None
        return torch.device(self.torch_name)

    @cached_property
    def bfloat16(self) -> bool:
        """Whether networks calculate in bfloat16 there: where a GPU does so in hardware. It must be usable."""
        if not self.is_cuda:
            return self.asks_bfloat16
        import torch

        with torch.cuda.device(self.torch_device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))

    @property
    def label(self) -> str:
        """What an instance remembers of the features that were made there. It must be usable."""
        if self.torch_name is None:
            return CPU_LABEL
        kind = self.torch_name.partition(":")[0]
        return f"{'' if self.is_cuda else 'torch '}{kind} ({'bf16' if self.bfloat16 else 'f32'})"

    def description(self) -> str:
        """What its numbers depend on: the hardware and the software that drives it. It must be usable."""
        if self.torch_name is None:
            from imgsearch.vision.openvino_compat import load_openvino

            openvino = load_openvino()
            core = openvino.Core()
            able = sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))  # bf16 or not, for one
            told = f"{core.get_property('CPU', 'FULL_DEVICE_NAME')}, {able}, OpenVINO {openvino.__version__}"
            return told if (asked := asked_precision()) is None else f"{told}, {asked}"
        import torch

        hardware = torch.cuda.get_device_name(self.torch_device) if self.is_cuda else Device(CPU).description()
        return f"{self.label}, {hardware}, torch {torch.__version__}"
