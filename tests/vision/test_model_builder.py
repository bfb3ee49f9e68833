"""Networks put together from a user's weights."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
import torch

from imgsearch.errors import InvalidModel
from imgsearch.vision.model_builder import load_network
from imgsearch.vision.models import find_model


def test_weights_that_could_run_code_are_refused(tmp_path: Path) -> None:
    """And nobody is told how to load them all the same, as torch does."""
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {}, "made_by": PurePosixPath("a path")}, path)
    with pytest.raises(InvalidModel, match="could run any code") as caught:
        load_network(find_model("resnet18", path))
    assert "weights_only" not in caught.value.message
