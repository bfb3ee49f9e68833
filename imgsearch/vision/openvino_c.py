"""OpenVINO through its C interface: just enough to run a network that has been compiled before.

OpenVINO's Python package imports NumPy, and importing both holds the GIL for 0.2 s, in which no network can be loaded.
The C interface needs neither. It gives the same numbers, as both call the same library.
"""

from __future__ import annotations

import ctypes
import math
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["CompiledNetwork", "library_file"]

LIBRARY: Final = "libs/libopenvino_c.so*"
"""In the package's folder, on Linux."""
FLOAT_BYTES: Final = 4

_loading = Lock()
Pointer = ctypes.c_void_p


class _Shape(ctypes.Structure):
    """``ov_shape_t``."""

    _fields_ = (("rank", ctypes.c_int64), ("dims", ctypes.POINTER(ctypes.c_int64)))


class CompiledNetwork:
    """A network that takes one picture and gives float32, both of fixed shapes; threads take turns with it.

    Args:
        path: of the converted model.
        settings: OpenVINO's properties, by name.

    Raises:
        OSError: there is no such library.
        RuntimeError: OpenVINO cannot load the network, or it gives other numbers.
    """

    def __init__(self, path: Path, settings: dict[str, str]) -> None:
        with _loading:
            self._library, core = _core()
        words = [ctypes.c_char_p(os.fsencode(word)) for setting in settings.items() for word in setting]
        compiled = Pointer()
        self._call(
            "compile_model_from_file",
            *(core, os.fsencode(path), b"CPU", len(words), ctypes.byref(compiled), *words),
            kind="core",
        )
        self._request = self._made("create_infer_request", compiled, kind="compiled_model")
        number = ctypes.c_size_t()
        self._call("outputs_size", compiled, ctypes.byref(number), kind="compiled_model")
        self._outputs = range(number.value)
        self._lock = Lock()
        for output in self._outputs:
            self._output(output)  # raises if it is not what it should be

    def __call__(self, values: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """Run it on one picture, releasing the GIL; each output without its first axis.

        Args:
            values: as many bytes as the network takes.
        """
        import numpy as np

        pixels = np.ascontiguousarray(values)
        with self._lock:
            given = self._made("get_input_tensor", self._request)
            try:
                address, size = self._memory(given)
                if size != pixels.nbytes:
                    raise ValueError(f"the network takes {size} bytes, not {pixels.nbytes}")
                ctypes.memmove(address, pixels.ctypes.data, size)
            finally:
                self._library.ov_tensor_free(given)
            self._call("infer", self._request)
            return [self._output(number) for number in self._outputs]

    def _output(self, number: int) -> npt.NDArray[np.float32]:
        import numpy as np

        tensor = self._made("get_output_tensor_by_index", self._request, ctypes.c_size_t(number))
        try:
            address, size = self._memory(tensor)
            shape = _Shape()
            self._call("get_shape", tensor, ctypes.byref(shape), kind="tensor")
            try:
                sides = [shape.dims[axis] for axis in range(shape.rank)]
            finally:
                self._library.ov_shape_free(ctypes.byref(shape))
            if size != math.prod(sides) * FLOAT_BYTES:
                raise RuntimeError(f"an output of shape {sides} has {size} bytes, and so is no float32")
            # Copied: the next picture's numbers take the same place.
            numbers: npt.NDArray[np.float32] = np.frombuffer(ctypes.string_at(address, size), np.float32)
            first: npt.NDArray[np.float32] = numbers.reshape(sides)[0]
            return first
        finally:
            self._library.ov_tensor_free(tensor)

    def _memory(self, tensor: Pointer) -> tuple[int, int]:
        """Where a tensor's values are, and how many bytes."""
        address, size = self._made("data", tensor, kind="tensor"), ctypes.c_size_t()
        self._call("get_byte_size", tensor, ctypes.byref(size), kind="tensor")
        return address.value or 0, size.value

    def _made(self, name: str, *arguments: Any, kind: str = "infer_request") -> Pointer:
        """What a function returns by its last argument."""
        made = Pointer()
        self._call(name, *arguments, ctypes.byref(made), kind=kind)
        return made

    def _call(self, name: str, *arguments: Any, kind: str = "infer_request") -> None:
        _checked(self._library, f"ov_{kind}_{name}", *arguments)


def library_file() -> Path | None:
    """OpenVINO's library with the C interface; None if it is not where it is on Linux."""
    package = find_spec("openvino")
    if package is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob(LIBRARY), None)


@cache
def _core() -> tuple[ctypes.CDLL, Pointer]:
    """The library, and what all networks share."""
    path = library_file()
    if path is None:
        raise OSError(f"the package openvino has no {LIBRARY}")
    library = ctypes.CDLL(str(path))
    library.ov_get_last_err_msg.restype = ctypes.c_char_p
    library.ov_tensor_free.restype = None
    # Variable arguments follow these; on some processors, they are passed in another way.
    library.ov_core_compile_model_from_file.argtypes = (
        *(Pointer, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t),
        ctypes.POINTER(Pointer),
    )
    core = Pointer()
    _checked(library, "ov_core_create", ctypes.byref(core))
    return library, core


def _checked(library: ctypes.CDLL, function: str, *arguments: Any) -> None:
    status = getattr(library, function)(*arguments)
    if status:
        message = library.ov_get_last_err_msg() or b""
        raise RuntimeError(f"{function} failed with status {status}: {message.decode(errors='replace')}")
