"""Running a converted model with OpenVINO."""

from __future__ import annotations

import os
from queue import SimpleQueue
from threading import Lock
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


REQUESTS_PER_STREAM = 2
"""One runs while the next is at hand: a stream must not wait for a Python thread to get the GIL."""

_loading = Lock()


def _load_openvino() -> Any:
    """Import OpenVINO, and have its bindings look up NumPy's interface before two threads can.

    They do so at the first array, inside a C++ static whose guard is taken with the GIL held and released in between:
    two threads that meet there wait for each other for ever (seen with 2026.4.1).
    """
    with _loading:
        import openvino

        openvino.Type.u8.to_dtype()
    return openvino


class Network:
    """A compiled model: pixels in, feature out; safe to call from several threads at once.

    Pictures go through one by one, whatever is indexed beside them, so that the same picture always gives the same
    numbers. With ``parallel=True`` as many run side by side as there are cores, one thread each, which gives the most
    pictures per second; otherwise one picture gets all cores, which gives the quickest single answer.
    """

    def __init__(self, model: ConvertedModel, cache: Path, *, parallel: bool) -> None:
        core = _load_openvino().Core()
        cores = available_cores()
        config: dict[str, Any] = {
            "CACHE_DIR": str(cache / "compiled"),
            "INFERENCE_NUM_THREADS": cores,
            "NUM_STREAMS": cores if parallel else 1,
            "ENABLE_CPU_PINNING": False,  # decoding threads want the same cores
            "PERFORMANCE_HINT": "THROUGHPUT" if parallel else "LATENCY",
        }
        compiled = core.compile_model(str(model.path), "CPU", config)
        # Made and dropped in one place, not by threads that come and go; and no asynchronous queue: the destructor of
        # OpenVINO's can abort the process at its end.
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(REQUESTS_PER_STREAM * config["NUM_STREAMS"]):
            self._requests.put(compiled.create_infer_request())
        self.input_size = model.record.input_size

    def embed(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run the network on one picture, releasing the GIL.

        Args:
            pixels: shape (input_size, input_size, 3), RGB.

        Returns:
            Shape (dimension,), L2-normalised.
        """
        request = self._requests.get()
        try:
            output = request.infer({0: pixels[np.newaxis]}, share_inputs=True)
            feature: npt.NDArray[np.float32] = np.array(output[0][0], dtype=np.float32)
        finally:
            self._requests.put(request)
        return feature
