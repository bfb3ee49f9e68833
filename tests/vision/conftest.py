"""A model so small that converting it is mostly importing torch, which child processes do."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from imgsearch.vision.models import find_model
from imgsearch.vision.openvino_export import converted_model

if TYPE_CHECKING:
    from pathlib import Path

    from imgsearch.vision.openvino_export import ConvertedModel

TINY = "test_convnext"
"""The smallest network of timm: 272,128 parameters, 160 pixels a side."""

MAKE_WEIGHTS = """
import sys
from pathlib import Path
from imgsearch.vision.model_builder import import_timm
import torch
from safetensors.torch import save_file

class Runs:
    def __reduce__(self):
        return print, ("arbitrary code ran",)

timm = import_timm()
folder, name = Path(sys.argv[1]), sys.argv[2]
torch.manual_seed(1)
state = timm.create_model(name).state_dict()
first = next(iter(state))
torch.save(state, folder / "plain.pth")
save_file(state, folder / "plain.safetensors")
torch.save({"state_dict": state, "epoch": 90}, folder / "checkpoint.pth")
torch.save({f"backbone.{number}": tensor for number, tensor in enumerate(state.values())}, folder / "renamed.pth")
torch.save({key: value.half() for key, value in state.items()}, folder / "half.pth")
torch.save({key: value for key, value in state.items() if key != first}, folder / "one missing.pth")
torch.save(state | {"more": torch.zeros(3)}, folder / "one more.pth")
torch.save(state | {first: torch.zeros(3)}, folder / "other shape.pth")
torch.save(dict(reversed(state.items())) | {"again": 1}, folder / "other order.pth")
torch.save(state | {first: "text"}, folder / "text.pth")
torch.save([1, 2, 3], folder / "list.pth")
torch.save({}, folder / "nothing.pth")
torch.save(state | {first: Runs()}, folder / "code.pth")
for file_name in ("vit.pth", "another network.pth"):
    torch.save(timm.create_model("test_vit").state_dict(), folder / file_name)
(folder / "garbage.pth").write_bytes(b"not a state dict " * 100)
(folder / "garbage.safetensors").write_bytes(b"not a state dict " * 100)
(folder / "empty.pth").write_bytes(b"")
(folder / "cut.pth").write_bytes((folder / "plain.pth").read_bytes()[:500_000])
(folder / "cut.safetensors").write_bytes((folder / "plain.safetensors").read_bytes()[:500_000])
"""


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good and bad files of weights for the tiny network."""
    folder = tmp_path_factory.mktemp("weights")
    subprocess.run([sys.executable, "-c", MAKE_WEIGHTS, folder, TINY], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def tiny(weights: Path, cache: Path) -> ConvertedModel:
    """The tiny network, converted."""
    return converted_model(find_model(TINY, weights / "plain.pth"), cache)
