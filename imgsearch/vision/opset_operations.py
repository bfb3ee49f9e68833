"""Small pieces of OpenVINO graphs, each with the arithmetic of the torch operation that it stands for.

All nodes are float32 with a leading axis of one picture. Needs OpenVINO, which importing this module loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.vision.openvino_compat import load_openvino

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

__all__ = [
    "between",
    "bilinear",
    "constant",
    "convolved",
    "indexed",
    "linear",
    "mean_of_places",
    "normalised",
    "opset",
    "summed",
    "with_axis",
]

opset: Final[Any] = load_openvino().opset13
TINIEST: Final = 1e-12
"""Least length that is divided by, as in torch's ``normalize``."""


def constant(values: Array | Sequence[float] | float) -> Any:
    """A float32 constant."""
    return opset.constant(np.ascontiguousarray(values, np.float32))


def _integers(values: Sequence[int]) -> Any:
    return opset.constant(np.array(values, np.int64))


def convolved(maps: Any, weights: Array, bias: Array | None = None, *, stride: int = 1, depthwise: bool = False) -> Any:
    """A convolution that keeps the side, or divides it by the stride, rounded up; padded as TensorFlow does.

    Args:
        maps: shape (1, channels, rows, columns).
        weights: as torch keeps them, shape (outputs, inputs, side, side), one input where it is depthwise.
        bias: shape (outputs,).
        stride: in pixels.
        depthwise: each channel by itself.
    """
    if depthwise:
        filters, convolve = constant(np.expand_dims(weights, 1)), opset.group_convolution
    else:
        filters, convolve = constant(weights), opset.convolution
    made = convolve(maps, filters, [stride, stride], [0, 0], [0, 0], [1, 1], auto_pad="same_upper")
    return made if bias is None else opset.add(made, constant(bias.reshape(1, -1, 1, 1)))


def linear(vectors: Any, weights: Array, bias: Array | None = None) -> Any:
    """Shape (1, inputs) by weights of shape (inputs, outputs)."""
    made = opset.matmul(vectors, constant(weights), transpose_a=False, transpose_b=False)
    return made if bias is None else opset.add(made, constant(bias.reshape(1, -1)))


def normalised(vectors: Any) -> Any:
    """Shape (1, n) at length 1."""
    lengths = opset.reduce_l2(vectors, _integers([1]), keep_dims=True)
    return opset.divide(vectors, opset.maximum(lengths, constant(TINIEST)))


def bilinear(maps: Any, side: int) -> Any:
    """Maps of that side, without antialiasing, as networks were trained with."""
    return opset.interpolate(
        maps,
        _integers([side, side]),
        "linear_onnx",
        "sizes",
        coordinate_transformation_mode="pytorch_half_pixel",
        axes=_integers([2, 3]),
    )


def mean_of_places(maps: Any) -> Any:
    """Shape (1, channels, rows, columns) to (1, channels)."""
    return opset.reduce_mean(maps, _integers([2, 3]), keep_dims=False)


def summed(values: Any, *axes: int, keep: bool = False) -> Any:
    """The sum over axes."""
    return opset.reduce_sum(values, _integers(axes), keep_dims=keep)


def between(values: Any, low: float, high: float) -> Any:
    """Each number at least ``low``, and at most ``high``."""
    return opset.clamp(values, low, high)


def with_axis(values: Any, *places: int) -> Any:
    """With further axes of length one."""
    return opset.unsqueeze(values, _integers(places))


def indexed(values: Any, number: int, axis: int) -> Any:
    """Without that axis, of which one place is taken."""
    return opset.gather(values, opset.constant(np.int64(number)), opset.constant(np.int64(axis)))
