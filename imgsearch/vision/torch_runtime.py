"""Running networks with torch, on a device that wants its pictures in batches.

Many threads ask for one picture each; one thread owns the device and gathers what waits. Whatever has come while a
batch ran is the next one: nothing is waited for, so a single picture goes through at once, and under load the batches
grow by themselves.

The last bits of a feature may depend on the batch that its picture was in, as a device picks its way of calculating by
the batch's size. That does not matter for finding a picture itself: what is identical is told by a digest of its bytes.

Processes that decode pictures are not forked from this one: they come from an interpreter of their own (``decoding``),
which has never seen torch. So neither CUDA nor the threads here are ever copied by a fork, whenever a decoder is
started or replaced.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from imgsearch.errors import DeviceUnusable, InvalidModel
from imgsearch.vision.devices import HINT, MAX_BATCH
from imgsearch.vision.model_builder import assembled, load_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from imgsearch.vision.devices import Device
    from imgsearch.vision.models import ModelRecord

    Pixels = npt.NDArray[np.uint8]
    Outputs = list[npt.NDArray[np.float32]]

__all__ = ["TorchGraph", "TorchRuntime"]

OUT_OF_MEMORY: Final = ("out of memory", "ALLOC_FAILED")
"""How others than torch's own allocator say it: the driver, cuDNN and cuBLAS."""

_loading: Final = Lock()
"""timm sets up networks with the help of global variables."""


class TorchRuntime:
    """One device and the thread that owns it.

    Args:
        device: of torch; it has been checked.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._calls: deque[_Call] = deque()
        self._changed = Condition()
        self._closed = False
        # A daemon, so that one who forgets to close does not wait for ever at the end of the program.
        self._thread = Thread(target=self._serve, name="imgsearch-device", daemon=True)
        self._thread.start()

    def graph(self, record: ModelRecord) -> TorchGraph:
        """The networks of a record, on the device.

        Args:
            record: complete.

        Raises:
            InvalidModel: the weights are not there, or are other ones.
            DeviceUnusable: they do not fit into its memory.
        """
        with _loading:
            network, weights_hash = load_network(record)
            if weights_hash != record.weights_hash:
                raise InvalidModel(f"the weights of {record.name} are other ones now: their hash is {weights_hash}")
            return TorchGraph(self, assembled(record, network), record.input_size)

    def ask(self, graph: TorchGraph, pixels: Pixels) -> Outputs:
        """Have the device's thread run a graph on one picture; wait for it.

        Raises:
            DeviceUnusable: the device failed.
            RuntimeError: closed.
        """
        call = _Call(graph, pixels)
        with self._changed:
            if self._closed:
                raise RuntimeError("the device has been given back")
            self._calls.append(call)
            self._changed.notify()
        return call.answer.result()

    def free(self) -> None:
        """Give back the memory of the device that nothing lies in."""
        if self.device.is_cuda:
            torch.cuda.empty_cache()

    def close(self) -> None:
        """End the thread, after the batch that runs; calls that wait raise RuntimeError."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self.free()

    def _serve(self) -> None:
        while calls := self._next():
            try:
                answers = calls[0].graph.run([call.pixels for call in calls])
            except BaseException as error:  # whatever it is, those who wait must hear of it
                for call in calls:
                    call.answer.set_exception(error)
            else:
                for call, answer in zip(calls, answers, strict=True):
                    call.answer.set_result(answer)

    def _next(self) -> list[_Call]:
        """The calls that have waited longest for the same graph; none when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._calls or self._closed)
            if self._closed:
                for call in self._calls:
                    call.answer.set_exception(RuntimeError("the device has been given back"))
                self._calls.clear()
                return []
            graph = self._calls[0].graph
            taken = [call for call in self._calls if call.graph is graph][:MAX_BATCH]
            for call in taken:
                self._calls.remove(call)
            return taken


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """One picture that waits, or is being run."""

    graph: TorchGraph
    pixels: Pixels
    answer: Future[Outputs] = field(default_factory=Future)


class TorchGraph:
    """Networks on a device: what ``runtime.Graph`` is for OpenVINO; safe to call from several threads at once.

    Args:
        runtime: of the device.
        module: uint8 of shape (n, size, size, 3) in, one output of shape (n, …) or a tuple of such out.
        size: of the pictures, in pixels.

    Raises:
        DeviceUnusable: it does not fit into the device's memory.
    """

    def __init__(self, runtime: TorchRuntime, module: Any, size: int) -> None:
        self._runtime = runtime
        self._device = runtime.device.torch_device
        self._shape = (size, size, 3)
        self._most = MAX_BATCH
        try:
            # The pictures come with their channels last: convolutions are quickest when all of it lies like that.
            self._module = module.to(self._device, memory_format=torch.channels_last)
            # Pinned memory is copied to a GPU without another copy in between.
            self._places = torch.empty((MAX_BATCH, *self._shape), dtype=torch.uint8, pin_memory=runtime.device.is_cuda)
        except Exception as error:
            if (named := _named(error, runtime.device)) is None:
                raise
            raise named from error
        self._rows: Pixels = self._places.numpy()

    def __call__(self, pixels: Pixels) -> Outputs:
        """Run it on one picture, together with those that other threads ask for; each output without its first axis.

        Raises:
            DeviceUnusable: the device failed, or has too little memory for a single picture.
        """
        if pixels.shape != self._shape:
            raise ValueError(f"pixels of shape {pixels.shape} instead of {self._shape}")
        return self._runtime.ask(self, pixels)

    def run(self, pictures: Sequence[Pixels]) -> list[Outputs]:
        """Run it on several pictures; for the device's thread.

        Where the memory is too short, batches are halved from then on.
        """
        done: list[Outputs] = []
        while len(done) < len(pictures):
            batch = pictures[len(done) : len(done) + self._most]
            answers = self._tried(batch)
            if answers is not None:
                done += answers
            elif len(batch) > 1:
                self._most = len(batch) // 2
            else:
                raise DeviceUnusable(
                    f"{self._runtime.device.name} has too little memory left for a single picture: "
                    f"end what else uses it, or {HINT}"
                )
        return done

    def _tried(self, batch: Sequence[Pixels]) -> list[Outputs] | None:
        """None: the device's memory is too short."""
        try:
            return self._forward(batch)
        except Exception as error:
            if not _is_out_of_memory(error):
                if (named := _named(error, self._runtime.device)) is None:
                    raise
                raise named from error
        # Only here is the error gone, and with it what its frames held of the device's memory.
        self._runtime.free()
        return None

    def _forward(self, batch: Sequence[Pixels]) -> list[Outputs]:
        count = len(batch)
        np.stack(batch, out=self._rows[:count])
        device = self._runtime.device
        casts = torch.autocast(self._device.type, torch.bfloat16, enabled=device.bfloat16)
        # Of several GPUs, the current one is what torch asks whether it can do that; -1 changes nothing.
        with torch.inference_mode(), torch.cuda.device(self._device if device.is_cuda else -1), casts:
            outputs = self._module(self._places[:count].to(self._device, non_blocking=True))
            # This waits for the device, so the places are free for the next batch.
            each = outputs if isinstance(outputs, tuple) else (outputs,)
            arrays = [output.float().cpu().numpy() for output in each]
        return [[array[number].copy() for array in arrays] for number in range(count)]


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


def _named(error: Exception, device: Device) -> DeviceUnusable | None:
    """What to tell people of a device's failure; None: it is none."""
    reason = str(error).strip().partition("\n")[0][:200]
    if _is_out_of_memory(error):
        return DeviceUnusable(f"{device.name} has too little memory left ({reason}): end what else uses it, or {HINT}")
    if isinstance(error, RuntimeError) and device.is_cuda and ("CUDA" in reason or "cuDNN" in reason):
        return DeviceUnusable(f"{device.name} has failed ({reason}): run the command again, or {HINT}")
    return None
