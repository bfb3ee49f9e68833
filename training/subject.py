"""Train the decoder that finds subjects: python -m training subject."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from imgsearch.vision.saliency import Decoder
from imgsearch.vision.trained_weights import SUBJECT_2, load_parameters
from training.composites import SIDE, Composer, recoloured
from training.networks import Activations
from training.pictures import EvaluationData, backgrounds, catalogue_cutouts, photos, stamps
from training.teacher import Teacher


@dataclass(frozen=True)
class Schedule:
    """How long and how fast the decoder learns; ``rising`` is the share of the steps in which the rate rises."""

    steps: int
    batch: int
    rate: float
    rising: float


COMPOSITES = 2600
"""Of each seed."""
COMPOSITE_SEEDS = 11, 12
VIEWS = 3
"""Each photo as it is, and two changed parts of it."""
CELLS = 32
SEED = 5
BEGUN, ANEW = Schedule(240, 40, 1.5e-3, 0.1), Schedule(950, 48, 3e-3, 0.15)
"""From the decoder of feature version 2 on, and from nothing."""


def train(
    data: EvaluationData, stamp_folder: Path, background_folder: Path, teacher_file: Path
) -> dict[str, np.ndarray]:
    """The decoder's parameters.

    They begin with those of feature version 2, which learned from the same sources; where a source is left out, which
    that decoder knows, with nothing.
    """
    cutouts = stamps(stamp_folder, data), catalogue_cutouts(data), backgrounds(background_folder)
    print("{} stamps, {} products, {} backgrounds".format(*map(len, cutouts)))
    composers = [Composer(*cutouts, seed) for seed in COMPOSITE_SEEDS]
    examples = [_example(*composer.picture()) for composer in composers for _ in range(COMPOSITES)]
    composites = len(examples)
    examples += _taught(photos(data), teacher_file)
    print(f"{composites} composites, {len(examples) - composites} views of photos")
    stages = Activations(0, SIDE, stages=True)([pixels for pixels, _ in examples])
    heats = torch.from_numpy(np.stack([heat for _, heat in examples])).float() / 255
    begun = None if data.without else Decoder().load(load_parameters(SUBJECT_2))
    return _fit([torch.from_numpy(maps) for maps in stages], heats, begun)


def _example(picture: Image.Image, mask: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(picture), np.asarray(mask.resize((CELLS, CELLS), Image.Resampling.BOX))


def _taught(pictures: list[Image.Image], teacher_file: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    draw = random.Random(SEED)
    views = [*pictures, *(_part(picture, draw) for _ in range(VIEWS - 1) for picture in pictures)]
    with tempfile.TemporaryDirectory() as folder:
        heats = Teacher(teacher_file, Path(folder)).heats(views, CELLS)
    squashed = [np.asarray(view.resize((SIDE, SIDE), Image.Resampling.BICUBIC, reducing_gap=2)) for view in views]
    return list(zip(squashed, heats, strict=True))


def _part(picture: Image.Image, draw: random.Random) -> Image.Image:
    across, down = draw.uniform(0.6, 1), draw.uniform(0.6, 1)
    x, y = draw.uniform(0, 1 - across) * picture.width, draw.uniform(0, 1 - down) * picture.height
    part = picture.crop((int(x), int(y), int(x + across * picture.width), int(y + down * picture.height)))
    return recoloured(part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else part, draw)


def _fit(stages: list[torch.Tensor], heats: torch.Tensor, begun: Decoder | None) -> dict[str, np.ndarray]:
    torch.manual_seed(SEED)
    schedule, decoder = (BEGUN, begun.train()) if begun else (ANEW, _standardising(stages))
    decoder = decoder.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(decoder.parameters(), schedule.rate, weight_decay=1e-2)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.rate, total_steps=schedule.steps, pct_start=schedule.rising
    )
    rounds = 1 + schedule.steps * schedule.batch // len(heats)
    order = torch.cat([torch.randperm(len(heats)) for _ in range(rounds)])
    total = 0.0
    for step in range(schedule.steps):
        chosen = order[step * schedule.batch : (step + 1) * schedule.batch]
        maps, target = [stage[chosen].float() for stage in stages], heats[chosen]
        if torch.rand(1) < 0.5:
            maps, target = [one.flip(3) for one in maps], target.flip(2)
        loss = _loss(decoder([one.contiguous(memory_format=torch.channels_last) for one in maps]), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        total += loss.item()
        if step % 40 == 39:
            print(f"step {step + 1} of {schedule.steps}: loss {total / 40:.4f}", flush=True)
            total = 0.0
    state = {name: tensor.numpy() for name, tensor in decoder.eval().state_dict().items() if "num_batches" not in name}
    return {name: array.astype(np.float16 if array.ndim > 1 else np.float32) for name, array in state.items()}


def _standardising(stages: list[torch.Tensor]) -> Decoder:
    """A decoder that knows nothing but what its inputs look like."""
    decoder = Decoder()
    for number, maps in enumerate(stages):
        sample = maps[:: max(1, len(maps) // 1000)].float()
        decoder.get_buffer(f"mean{number}").copy_(sample.mean(dim=(0, 2, 3)))
        decoder.get_buffer(f"deviation{number}").copy_(sample.std(dim=(0, 2, 3)) + 1e-3)
    return decoder


def _loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy place by place, and half the Dice loss, which small subjects weigh as much in as large ones."""
    chances = logits.sigmoid()
    common, both = (chances * target).sum(dim=(1, 2)), (chances + target).sum(dim=(1, 2))
    dice = 1 - (2 * common + 1) / (both + 1)
    return nn.functional.binary_cross_entropy_with_logits(logits, target) + 0.5 * dice.mean()
