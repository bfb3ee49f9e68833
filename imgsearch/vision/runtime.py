"""Running a converted model: with OpenVINO on the CPU, or with torch where another device is asked for."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from imgsearch.cores import available_cores
from imgsearch.quantization import quantised
from imgsearch.vision import early_networks
from imgsearch.vision.compile_settings import compile_settings, is_compiled
from imgsearch.vision.devices import CPU, Device
from imgsearch.vision.model_cache import whole_folder
from imgsearch.vision.models import CATEGORISER, EMBEDDER, LOCATOR
from imgsearch.vision.openvino_compat import keeping_locale, load_openvino
from imgsearch.vision.openvino_export import converted_model
from imgsearch.vision.precision import check_precision
from imgsearch.vision.subject_boxes import find_subjects

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from imgsearch.values import Region
    from imgsearch.vision.openvino_c import CompiledNetwork
    from imgsearch.vision.openvino_export import ConvertedModel
    from imgsearch.vision.torch_runtime import TorchGraph

__all__ = ["Graph", "Network", "available_cores", "normalised"]


def normalised(feature: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """At length 1, as exactly as float32 allows: a processor may calculate with fewer digits."""
    vector: npt.NDArray[np.float32] = feature / np.maximum(np.linalg.norm(feature), np.finfo(np.float32).tiny)
    return vector


REQUESTS_PER_STREAM = 2
"""One runs while the next is at hand: a stream must not wait for a Python thread to get the GIL."""


class Network:
    """A compiled model: pixels in, numbers out; safe to call from several threads at once.

    On the CPU, pictures go through one by one, whatever is indexed beside them, so that the same picture always gives
    the same numbers. With ``parallel=True`` as many run side by side as there are cores, one thread each, which gives
    the most pictures per second; otherwise one picture gets all cores, which gives the quickest single answer. In
    float32 the last bits differ between the two, as several threads add up in another order (by 6e-8 at most, of
    numbers around 0.06). On another device they go in batches (``torch_runtime``). What finds subjects and tells
    categories is loaded when the first picture needs it, and converted where it has not been yet.

    Args:
        model: that makes the features.
        cache: folder of converted and compiled models.
        parallel: many pictures side by side, or one as quickly as possible.
        announce: told in lines for people when something has to be converted first.
        device: where it runs; another one than the CPU has been checked.
    """

    def __init__(
        self,
        model: ConvertedModel,
        cache: Path,
        *,
        parallel: bool,
        announce: Callable[[str], None] = lambda _text: None,
        device: str = CPU,
    ) -> None:
        self._model = model
        self._announce = announce
        self._cache = cache
        self._parallel = parallel
        self._converting = Lock()
        """One at a time: each takes much memory."""
        self._locks = {purpose: Lock() for purpose in (EMBEDDER, LOCATOR, CATEGORISER)}
        self._graphs: dict[str, Graph | CompiledNetwork | TorchGraph] = {}
        self._torch = None
        if (chosen := Device.parse(device)).is_torch:
            from imgsearch.vision.torch_runtime import TorchRuntime

            self._torch = TorchRuntime(chosen)
        self.input_size = model.record.input_size

    def load(self, purpose: str) -> None:
        """Load a graph before it is needed.

        Raises:
            UsageError, DeviceUnusable: as ``Graph`` does.
            InvalidModel, StorageFull, StorageUnwritable: it has to be converted and cannot be.
        """
        self._graph(purpose)

    def close(self) -> None:
        """Give a device back; nobody may be waiting for it. Of a network on the CPU there is nothing to close."""
        if self._torch is not None:
            self._graphs.clear()
            self._torch.close()

    def embed(self, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """The feature of a region, and what the same networks say of its category, if they can.

        Args:
            pixels: shape (input_size, input_size, 3), RGB.

        Returns:
            Shape (dimension,), L2-normalised; shape (categories,) or None.
        """
        feature, *evidence = self._graph(EMBEDDER)(pixels)
        if self._model.record.is_folder:
            feature = normalised(feature)  # all others do so in their graph
        (feature,) = quantised(feature[None], self._model.record.bits)
        return feature, evidence[0] if evidence else None

    def locate(self, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Where the subjects of a whole picture are, and what it says of the category.

        Args:
            pixels: shape (LOCATOR_SIZE, LOCATOR_SIZE, 3), RGB.

        Returns:
            Heat of shape (rows, columns) in 0..1; evidence of shape (categories,).
        """
        heat, evidence = self._graph(LOCATOR)(pixels)
        return heat, evidence

    def subjects(self, heat: npt.NDArray[np.float32], width: int, height: int) -> tuple[Region, ...]:
        """The boxes of what stands out in a heat map, the main subject first, as the version of the features has it.

        Args:
            heat: as ``locate`` gives it.
            width: of the picture, in pixels.
            height: likewise.
        """
        return find_subjects(heat, width, height, prefers_middle=self._model.record.prefers_middle)

    def categorise(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """What further networks say of a region's category.

        Args:
            pixels: shape (CATEGORY_SIZE, CATEGORY_SIZE, 3), RGB.

        Returns:
            Shape (categories,).
        """
        return self._graph(CATEGORISER)(pixels)[0]

    def _graph(self, purpose: str) -> Graph | CompiledNetwork | TorchGraph:
        # One lock for each, as OpenVINO loads several models side by side.
        with self._locks[purpose]:
            if purpose not in self._graphs:
                model = self._model
                if purpose != EMBEDDER:
                    record = model.record.locator() if purpose == LOCATOR else model.record.categoriser()
                    with self._converting:
                        model = converted_model(record, self._cache, self._announce)
                self._graphs[purpose] = self._made(model)
            return self._graphs[purpose]

    def _made(self, model: ConvertedModel) -> Graph | CompiledNetwork | TorchGraph:
        if self._torch is not None:
            with self._converting:
                return self._torch.graph(model.record)
        # Models in folders may take and give what ``openvino_c`` cannot handle.
        if self._parallel or model.record.is_folder:
            return Graph(model.path, parallel=self._parallel)
        settings = _settings(model.path, parallel=False)
        graph = early_networks.taken(model.path, settings) or Graph(model.path, parallel=False)
        early_networks.use(model.path, settings)
        return graph


def _settings(path: Path, *, parallel: bool) -> dict[str, str]:
    """How a network is compiled here; arguments and errors are those of ``Graph``."""
    return compile_settings(path, check_precision(), cores=available_cores(), parallel=parallel)


def _compiled(core: Any, path: Path, settings: dict[str, str]) -> Any:
    """A compiled model, kept for later processes if that is possible: OpenVINO fails where its cache is full."""
    with suppress(OSError, RuntimeError):
        if is_compiled(settings):
            return core.compile_model(str(path), "CPU", settings)
        with whole_folder(Path(settings["CACHE_DIR"])) as folder:
            return core.compile_model(str(path), "CPU", settings | {"CACHE_DIR": str(folder)})
    return core.compile_model(str(path), "CPU", {name: settings[name] for name in settings if name != "CACHE_DIR"})


class Graph:
    """One compiled OpenVINO model and the requests that run it; safe to call from several threads at once.

    Args:
        path: of the converted model; what compiling it gives is kept beside it.
        parallel: many pictures side by side, or one as quickly as possible.

    Raises:
        UsageError, DeviceUnusable: ``IMGSEARCH_PRECISION`` names no precision, or one that the processor lacks.
    """

    def __init__(self, path: Path, *, parallel: bool) -> None:
        settings = _settings(path, parallel=parallel)
        core = load_openvino().Core()
        with keeping_locale():
            compiled = _compiled(core, path, settings)
        # Made and dropped in one place, not by threads that come and go; and no asynchronous queue: the destructor of
        # OpenVINO's can abort the process at its end.
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(REQUESTS_PER_STREAM * int(settings["NUM_STREAMS"])):
            self._requests.put(compiled.create_infer_request())

    def __call__(self, values: npt.NDArray[np.uint8] | npt.NDArray[np.int64]) -> list[npt.NDArray[np.float32]]:
        """Run it on one picture or text, releasing the GIL; each output without its first axis."""
        request = self._requests.get()
        try:
            outputs = request.infer({0: values[np.newaxis]}, share_inputs=True)
            return [np.array(outputs[number][0], dtype=np.float32) for number in range(len(outputs))]
        finally:
            self._requests.put(request)
