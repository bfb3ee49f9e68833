"""The network that finds subjects, as it is converted: the whole picture in, a heat map out. Needs torch.

The trunk is EfficientNet-Lite0 as it comes; a small decoder reads three of its stages, coarse to fine, as feature
pyramids do (Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017), with depthwise blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from imgsearch.vision.network_constants import STAGE_CHANNELS, STAGES
from imgsearch.vision.tensor_ops import centred

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from imgsearch.vision.category_head import CategoryEvidence

__all__ = ["Decoder", "Locator", "stage_maps"]

WIDTH: Final = 48


def stage_maps(network: Any, planes: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The maps of STAGES, and the trunk's last maps, of shape (n, channels, rows, columns)."""
    maps = network.bn1(network.conv_stem(planes))
    stages = []
    for number, block in enumerate(network.blocks):
        maps = block(maps)
        if number in STAGES:
            stages.append(maps)
    return stages, network.bn2(network.conv_head(maps))


class _Block(nn.Module):
    """A residual block: depthwise, then two layers place by place."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 5, padding=2, groups=WIDTH),
            nn.BatchNorm2d(WIDTH),
            nn.Conv2d(WIDTH, 2 * WIDTH, 1),
            nn.ReLU(),
            nn.Conv2d(2 * WIDTH, WIDTH, 1),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        refined: torch.Tensor = maps + self.layers(maps)
        return refined


class Decoder(nn.Module):
    """From the maps of STAGES to the heat's logits, shape (n, rows of the finest stage, columns of it)."""

    def __init__(self) -> None:
        super().__init__()
        for number, channels in enumerate(STAGE_CHANNELS):
            self.register_buffer(f"mean{number}", torch.zeros(channels))
            self.register_buffer(f"deviation{number}", torch.ones(channels))
        self.lateral = nn.ModuleList(nn.Conv2d(channels, WIDTH, 1) for channels in STAGE_CHANNELS)
        self.overall = nn.Linear(STAGE_CHANNELS[-1], WIDTH)
        self.coarse = nn.Sequential(_Block(), _Block())
        self.middle = nn.Sequential(_Block())
        self.fine = nn.Sequential(_Block(), _Block())
        self.out = nn.Conv2d(WIDTH, 1, 1)

    def standardised(self, stages: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Each channel to mean 0 and deviation 1 over the training pictures."""
        return [
            (maps - getattr(self, f"mean{number}")[:, None, None]) / getattr(self, f"deviation{number}")[:, None, None]
            for number, maps in enumerate(stages)
        ]

    def forward(self, stages: Sequence[torch.Tensor]) -> torch.Tensor:
        """Maps of shape (n, channels, rows, columns), the finest first, to logits (n, rows, columns)."""
        fine, middle, coarse = self.standardised(stages)
        maps = self.lateral[2](coarse) + self.overall(coarse.mean(dim=(2, 3)))[:, :, None, None]
        maps = self.middle(_doubled(self.coarse(maps)) + self.lateral[1](middle))
        maps = self.fine(_doubled(maps) + self.lateral[0](fine))
        logits: torch.Tensor = self.out(torch.relu(maps))[:, 0]
        return logits

    def load(self, parameters: Mapping[str, npt.NDArray[np.generic]]) -> Decoder:
        """Take over trained parameters."""
        state = {name: torch.from_numpy(array).float() for name, array in parameters.items()}
        # The counters of batches are of use in training only.
        own = {name for name in self.state_dict() if not name.endswith("num_batches_tracked")}
        if own != set(state):
            raise ValueError(f"the decoder's parameters do not fit: {sorted(own ^ set(state))}")
        self.load_state_dict(state, strict=False)
        return self.eval()


def _doubled(maps: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)


class Locator(nn.Module):
    """Pixels of a whole picture to its heat map, and to what its overall look says of the category."""

    def __init__(self, network: Any, decoder: Decoder, evidence: CategoryEvidence) -> None:
        super().__init__()
        self.network = network
        self.decoder = decoder
        self.evidence = evidence

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From uint8 of shape (n, size, size, 3) to heat (n, size / 8, size / 8) in 0..1, evidence (n, categories)."""
        stages, last = stage_maps(self.network, centred(pixels))
        return self.decoder(stages).float().sigmoid(), self.evidence(last.float().mean(dim=(2, 3)))
