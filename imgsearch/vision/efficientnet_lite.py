"""EfficientNet-Lite for OpenVINO, built straight from a file of weights; neither torch nor timm is needed.

The networks are those that timm calls ``tf_efficientnet_lite0`` to ``2``: inverted residual blocks with ReLU6, without
squeeze and excitation (Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML
2019). Each batch normalisation becomes part of the convolution before it, in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.errors import InvalidModel
from imgsearch.vision.opset_operations import between, convolved, opset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from imgsearch.vision.state_dict import State

    Array = npt.NDArray[np.generic]

__all__ = ["EfficientNetLite", "folded"]

KERNELS: Final = (3, 3, 5, 3, 5, 5, 3)
STRIDES: Final = (1, 2, 2, 2, 1, 2, 1)
"""Of each stage; the stride is that of its first block."""
EXPANSION: Final = 6
"""Channels inside a block by those before it, in all stages but the first."""
STEM: Final = 32
HEAD: Final = 1280
CLASSES: Final = 1000
EPSILON: Final = 1e-3
"""Of the batch normalisations, as TensorFlow has it."""
NORMALISATION: Final = ("weight", "bias", "running_mean", "running_var")
COUNTER: Final = "num_batches_tracked"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What tells one member of the family from the next: channels and blocks of each stage."""

    channels: tuple[int, ...]
    blocks: tuple[int, ...]


PLANS: Final = {
    "tf_efficientnet_lite0": _Plan((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    "tf_efficientnet_lite1": _Plan((16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
    "tf_efficientnet_lite2": _Plan((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
}


def folded(
    weights: Array, normalisation: tuple[Array, Array, Array, Array], epsilon: float, bias: Array | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A convolution and the batch normalisation behind it as one convolution: its weights and its bias.

    Args:
        weights: of the convolution, outputs first.
        normalisation: weight, bias, mean and variance, each of shape (outputs,).
        epsilon: of the normalisation.
        bias: of the convolution, shape (outputs,), if it has one.
    """
    weight, shift, mean, variance = (values.astype(np.float64) for values in normalisation)
    scale = weight / np.sqrt(variance + epsilon)
    before = -mean if bias is None else bias.astype(np.float64) - mean
    return weights.astype(np.float64) * scale.reshape(-1, 1, 1, 1), shift + before * scale


class EfficientNetLite:
    """One network with its weights.

    Args:
        architecture: one of PLANS.
        state: its weights by timm's names, or under any names in timm's order.
        path: where they come from, for messages.

    Raises:
        InvalidModel: they do not fit.
    """

    def __init__(self, architecture: str, state: State, path: Path) -> None:
        self._plan = PLANS[architecture]
        shapes = dict(self._shapes())
        if set(state) != set(shapes):
            if [array.shape for array in state.values()] != list(shapes.values()):
                raise InvalidModel(
                    f"the weights {path} do not fit: {len(state)} tensors where the model has {len(shapes)}, or other "
                    "shapes"
                )
            state = dict(zip(shapes, state.values(), strict=True))
        wrong = [name for name, shape in shapes.items() if state[name].shape != shape]
        if wrong:
            raise InvalidModel(
                f"the weights {path} do not fit: {wrong[0]} has the shape {state[wrong[0]].shape} instead of "
                f"{shapes[wrong[0]]}"
            )
        self._state = state

    @staticmethod
    def knows(architecture: str) -> bool:
        """Whether it is one of the family."""
        return architecture in PLANS

    @property
    def classifier(self) -> tuple[Array, Array]:
        """Weights of shape (classes, channels), and bias."""
        return self._state["classifier.weight"], self._state["classifier.bias"]

    def maps(self, planes: Any, stages: tuple[int, ...] = ()) -> tuple[list[Any], Any]:
        """The maps behind some stages, and the last maps, of shape (1, 1280, rows, columns).

        Args:
            planes: normalised pixels, shape (1, 3, size, size).
            stages: by their numbers, from 0.
        """
        maps = self._layer(planes, "conv_stem", "bn1", stride=2)
        asked = []
        for stage, (blocks, stride) in enumerate(zip(self._plan.blocks, STRIDES, strict=True)):
            for block in range(blocks):
                maps = self._block(maps, stage, block, stride if block == 0 else 1)
            if stage in stages:
                asked.append(maps)
        return asked, self._layer(maps, "conv_head", "bn2")

    def _block(self, maps: Any, stage: int, block: int, stride: int) -> Any:
        at = f"blocks.{stage}.{block}."
        if stage == 0:
            inner = self._layer(maps, f"{at}conv_dw", f"{at}bn1", stride=stride, depthwise=True)
            made = self._layer(inner, f"{at}conv_pw", f"{at}bn2", bounded=False)
        else:
            inner = self._layer(maps, f"{at}conv_pw", f"{at}bn1")
            inner = self._layer(inner, f"{at}conv_dw", f"{at}bn2", stride=stride, depthwise=True)
            made = self._layer(inner, f"{at}conv_pwl", f"{at}bn3", bounded=False)
        # Behind the first block of a stage, channels are the same. The first stages have one block of other channels.
        return opset.add(made, maps) if block > 0 else made

    def _layer(
        self,
        maps: Any,
        name: str,
        normalisation: str,
        *,
        stride: int = 1,
        depthwise: bool = False,
        bounded: bool = True,
    ) -> Any:
        weight, bias, mean, variance = (self._state[f"{normalisation}.{part}"] for part in NORMALISATION)
        weights, shift = folded(self._state[f"{name}.weight"], (weight, bias, mean, variance), EPSILON)
        made = convolved(maps, weights, shift, stride=stride, depthwise=depthwise)
        return between(made, 0.0, 6.0) if bounded else made

    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of all tensors, in timm's order."""
        yield from _layer_shapes("conv_stem", "bn1", (STEM, 3, 3, 3))
        channels = STEM
        for stage, (outputs, blocks) in enumerate(zip(self._plan.channels, self._plan.blocks, strict=True)):
            side = KERNELS[stage]
            for block in range(blocks):
                at = f"blocks.{stage}.{block}."
                if stage == 0:
                    yield from _layer_shapes(f"{at}conv_dw", f"{at}bn1", (channels, 1, side, side))
                    yield from _layer_shapes(f"{at}conv_pw", f"{at}bn2", (outputs, channels, 1, 1))
                else:
                    inner = EXPANSION * channels
                    yield from _layer_shapes(f"{at}conv_pw", f"{at}bn1", (inner, channels, 1, 1))
                    yield from _layer_shapes(f"{at}conv_dw", f"{at}bn2", (inner, 1, side, side))
                    yield from _layer_shapes(f"{at}conv_pwl", f"{at}bn3", (outputs, inner, 1, 1))
                channels = outputs
        yield from _layer_shapes("conv_head", "bn2", (HEAD, channels, 1, 1))
        yield "classifier.weight", (CLASSES, HEAD)
        yield "classifier.bias", (CLASSES,)


def _layer_shapes(name: str, normalisation: str, shape: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield from ((f"{normalisation}.{part}", shape[:1]) for part in NORMALISATION)
    yield f"{normalisation}.{COUNTER}", ()
