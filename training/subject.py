"""Train the decoder that finds subjects: python -m training subject."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from imgsearch.algorithm.locator import Decoder
from training.composites import SIDE, Composer, recoloured
from training.networks import Activations
from training.pictures import EvaluationData, backgrounds, catalogue_cutouts, photos, stamps
from training.teacher import Teacher

COMPOSITES = 5000
VIEWS = 3
"""Each photo as it is, and two changed parts of it."""
CELLS = 32
BATCH = 48
EPOCHS = 6
RATE = 3e-3
SEED = 5


def train(
    data: EvaluationData, stamp_folder: Path, background_folder: Path, teacher_file: Path
) -> dict[str, np.ndarray]:
    """The decoder's parameters."""
    composer = Composer(stamps(stamp_folder, data), catalogue_cutouts(data), backgrounds(background_folder), SEED)
    print(f"{len(composer.stamps)} stamps, {len(composer.products)} products, {len(composer.scenes)} backgrounds")
    examples = [_example(*composer.picture()) for _ in range(COMPOSITES)]
    examples += _taught(photos(data), teacher_file)
    print(f"{COMPOSITES} composites, {len(examples) - COMPOSITES} views of photos")
    stages = Activations(0, SIDE, stages=True)([pixels for pixels, _ in examples])
    heats = torch.from_numpy(np.stack([heat for _, heat in examples])).float() / 255
    return _fit([torch.from_numpy(maps) for maps in stages], heats)


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


def _fit(stages: list[torch.Tensor], heats: torch.Tensor) -> dict[str, np.ndarray]:
    torch.manual_seed(SEED)
    decoder = Decoder()
    for number, maps in enumerate(stages):
        sample = maps[:: max(1, len(maps) // 1000)].float()
        decoder.get_buffer(f"mean{number}").copy_(sample.mean(dim=(0, 2, 3)))
        decoder.get_buffer(f"deviation{number}").copy_(sample.std(dim=(0, 2, 3)) + 1e-3)
    decoder = decoder.to(memory_format=torch.channels_last)
    steps = len(heats) // BATCH
    optimizer = torch.optim.AdamW(decoder.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * steps, pct_start=0.15)
    for epoch in range(EPOCHS):
        total, order = 0.0, torch.randperm(len(heats))
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            maps, target = [stage[chosen].float() for stage in stages], heats[chosen]
            if torch.rand(1) < 0.5:
                maps, target = [one.flip(3) for one in maps], target.flip(2)
            loss = _loss(decoder([one.contiguous(memory_format=torch.channels_last) for one in maps]), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {total / steps:.4f}", flush=True)
    state = {name: tensor.numpy() for name, tensor in decoder.eval().state_dict().items() if "num_batches" not in name}
    return {name: array.astype(np.float16 if array.ndim > 1 else np.float32) for name, array in state.items()}


def _loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross entropy place by place, and half the Dice loss, which small subjects weigh as much in as large ones."""
    chances = logits.sigmoid()
    common, both = (chances * target).sum(dim=(1, 2)), (chances + target).sum(dim=(1, 2))
    dice = 1 - (2 * common + 1) / (both + 1)
    return nn.functional.binary_cross_entropy_with_logits(logits, target) + 0.5 * dice.mean()
