"""Running a converted model with OpenVINO."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.algorithm.conversion import ConvertedModel

__all__ = ["Network", "available_cores"]


def available_cores() -> int:
    """Cores this process may run on; every default number of threads comes from here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Network:
    """A compiled model: pixels in, feature out; safe to call from several threads at once.

    Pictures go through one by one, whatever is indexed beside them, so that the same picture always gives the same
    numbers. With ``parallel=True`` as many run side by side as there are cores, one thread each, which gives the most
    pictures per second; otherwise one picture gets all cores, which gives the quickest single answer.
    """

    def __init__(self, model: ConvertedModel, cache: Path, *, parallel: bool) -> None:
        import openvino

        core = openvino.Core()
        cores = available_cores()
        config: dict[str, Any] = {
            "CACHE_DIR": str(cache / "compiled"),
            "INFERENCE_NUM_THREADS": cores,
            "NUM_STREAMS": cores if parallel else 1,
            "PERFORMANCE_HINT": "THROUGHPUT" if parallel else "LATENCY",
        }
        self._compiled = core.compile_model(str(model.path), "CPU", config)
        self._requests = threading.local()
        self.input_size = model.record.input_size
        self.streams = cores if parallel else 1

    def embed(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run the network on one picture, releasing the GIL.

        Args:
            pixels: shape (input_size, input_size, 3), RGB.

        Returns:
            Shape (dimension,), L2-normalised.
        """
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        output = request.infer({0: pixels[np.newaxis]}, share_inputs=True)
        feature: npt.NDArray[np.float32] = np.array(output[0][0], dtype=np.float32)
        return feature
