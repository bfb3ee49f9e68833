"""Networks put together from a model's record: timm's, with their weights, and what we have trained around them.

torch and timm, which take seconds to import, are imported by what is called, not with this module.
"""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import InvalidModel
from imgsearch.vision.model_weights import weights_file
from imgsearch.vision.models import CATEGORISER, CATEGORY_SIDES, LOCATOR

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from imgsearch.vision.models import ModelRecord

__all__ = ["MAX_FEATURE_DIMENSION", "MAX_WHOLE_DIMENSION", "assembled", "import_timm", "input_size", "load_network"]

MAX_FEATURE_DIMENSION: Final = 256
MAX_WHOLE_DIMENSION: Final = 1024
"""Of what a network gives and nothing reduces: 2 KB a picture as it is stored."""
MAX_TRANSFORMER_SIZE: Final = 224
"""Side that a vision transformer is fed with at most, in pixels: its time rises with the fourth power of it."""


def import_timm() -> Any:
    """Import timm, which wants torchvision, of which it needs nothing here.

    A torchvision built for another torch fails at import, because its C++ operators did not load; with their schemas
    defined beforehand it imports.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        sys.torchvision_library = library  # type: ignore[attr-defined]  # lives as long as the process
    import timm

    return timm


def load_network(record: ModelRecord) -> tuple[Any, str]:
    """The network with its weights, and their hash."""
    import torch

    timm = import_timm()
    path = weights_file(record)
    try:
        network = timm.create_model(record.architecture, pretrained=path is None)
    except RuntimeError as error:
        if "Unknown model" in str(error):
            raise InvalidModel(
                f"timm knows no model {record.architecture!r}; "
                "python -c 'import timm; print(timm.list_models())' lists them"
            ) from None
        raise InvalidModel(f"the model {record.architecture} cannot be made: {error}") from None
    except Exception as error:
        raise InvalidModel(
            f"the weights of {record.architecture} cannot be had from the hub ({type(error).__name__}): "
            "connect to the network, or give a file of weights with --weights"
        ) from None
    if path is None:
        return network.eval(), _tensor_hash(network.state_dict())
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch would advise to run what is in there
        if "global" not in str(error).casefold():
            raise InvalidModel(f"the weights {path} cannot be read: torch.save did not write them") from None
        raise InvalidModel(
            f"the weights {path} hold more than tensors, which could run any code, so they are not loaded: save only "
            "the model's state_dict, or convert them to .safetensors"
        ) from None
    except Exception as error:
        raise InvalidModel(f"the weights {path} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    _fit(network, state, path)
    return network.eval(), record.weights_hash


def _fit(network: Any, state: Any, path: Path) -> None:
    """Load a state dict; other names are fine as long as the same tensors come in the same order."""
    own = network.state_dict()
    if not isinstance(state, dict):
        raise InvalidModel(f"the weights {path} are not a state dict")
    if set(state) != set(own):
        shapes = [tuple(getattr(tensor, "shape", ())) for tensor in state.values()]
        if shapes != [tuple(tensor.shape) for tensor in own.values()]:
            raise InvalidModel(
                f"the weights {path} do not fit: {len(state)} tensors where the model has {len(own)}, or other shapes"
            )
        state = dict(zip(own, state.values(), strict=True))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidModel(f"the weights {path} do not fit: {' '.join(str(error).split())[:200]}") from None


def _tensor_hash(state: dict[str, Any]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for tensor in state.values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def input_size(network: Any) -> int:
    """Side that features of a network are made at, in pixels: its own, or less where it is costly and takes others."""
    own = _own_size(network)
    return min(own, MAX_TRANSFORMER_SIZE) if _takes_other_sizes(network) else own


def _own_size(network: Any) -> int:
    return int(network.pretrained_cfg.get("input_size", (3, 224, 224))[-1])


def _takes_other_sizes(network: Any) -> bool:
    """Whether it is a vision transformer whose embedding of places can be resampled."""
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    return isinstance(network, Eva | VisionTransformer)


def assembled(record: ModelRecord, network: Any) -> Any:
    """What runs for the record's purpose, a module fit for that: uint8 pixels (n, size, size, 3) in, float32 out.

    Args:
        record: complete.
        network: the one that the record is named after, as ``load_network`` gives it.
    """
    from imgsearch.vision.category_head import CategoryEvidence, CategoryNetworks
    from imgsearch.vision.colour import ColourBlock
    from imgsearch.vision.embedder import Embedder, ProjectedShape, TrainedShape, projected_as_in_version_2, shape_of
    from imgsearch.vision.saliency import Decoder, Locator
    from imgsearch.vision.trained_weights import CATEGORY, COLOUR, HEAD, SHAPE, load_parameters

    category = load_parameters(CATEGORY)
    if record.purpose == LOCATOR:
        decoder = Decoder().load(load_parameters(record.subject_decoder))
        return Locator(network, decoder, CategoryEvidence(network, "whole", category)).eval()
    networks = [network, *(load_network(joined)[0] for joined in record.joined_records)]
    evidence = [
        None if name is None else CategoryEvidence(one, name, category)
        for one, name in zip(networks, record.evidence_names, strict=True)
    ]
    if record.purpose == CATEGORISER:
        sides = [CATEGORY_SIDES[name] for name in record.evidence_names if name is not None]
        inner = [None if side == record.input_size else side for side in sides]
        return CategoryNetworks(networks, inner, [part for part in evidence if part is not None]).eval()
    if record.input_size != _own_size(network) and _takes_other_sizes(network):
        network.set_input_size(img_size=(record.input_size, record.input_size))
    sizes = [record.input_size, *(joined.input_size for joined in record.joined_records)]
    colour = None
    if record.has_colour:
        colour = ColourBlock(load_parameters(COLOUR), normalises_exposure=record.normalises_exposure)
    shape: nn.Module
    if not record.joined:
        if colour is None:
            shape = projected_as_in_version_2(network, MAX_FEATURE_DIMENSION)
        else:
            shape = shape_of(network, MAX_FEATURE_DIMENSION - colour.projection.shape[1], MAX_WHOLE_DIMENSION)
    elif record.has_colour:
        shape = TrainedShape(load_parameters(SHAPE))
    else:
        shape = ProjectedShape.of(load_parameters(HEAD))
    return Embedder(networks, sizes, record.mean, record.std, shape, colour, evidence).eval()
