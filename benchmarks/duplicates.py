"""Duplicates: are copies told from what merely resembles them, and how long does it take among a million pictures?

Every ``gallery`` photo of a ground truth (see ``quality.py``) is indexed with copies of it and recoloured, all in
memory. Recall is the share of copies in a ``same`` group with their photo; precision is the share of pairs in ``same``
groups that show the same. The thresholds were chosen on the products of part 0; part 1 has none of their products.
Photos of the gallery that are one picture (it has some under the names of several colours) count as the same, and a
recoloured photo that looks as before is left out; both are decided on pixels.

The synthetic pictures (``catalogue.py``) get hashes that agree as far as their features do, and every fiftieth becomes
a copy of the one before, by turns with the same bytes and with as many bits of its hash changed as by a crop.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import subprocess
import tempfile
import zlib
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from benchmarks import instances
from benchmarks.process import IMGSEARCH, run
from benchmarks.robustness import InMemory
from benchmarks.setting import EVALUATION_DATA, ROOT, SIZES, show
from imgsearch import AddPicture, FilePicture, Instance, Kind
from imgsearch.evaluation.ground_truth import GroundTruth, Part
from imgsearch.storage.engine import Engine
from imgsearch.types import Extracted, Upsert
from imgsearch.values import Attributes, Key, Region, RegionMode
from imgsearch.vision.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgsearch.jobs.duplicates import DuplicateGroup

KEPT = 0.95
"""Of each side by the crop."""
TURN = 64
"""Of the hue, in 256ths of a circle."""
VISIBLE = 2.0
"""Mean change of a channel, in levels of 256, from which on a picture looks recoloured."""
ONE_PICTURE = 1.0
"""Below it, two photos of the gallery are one picture."""
PARTS = 2
LARGEST = 1_000_000
EVERY = 50
CHANGED_BITS = (14, 32)
"""At most, of each half of a hash."""


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def _cropped(image: Image.Image) -> Image.Image:
    left, top = (round(side * (1 - KEPT) / 2) for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def _recoloured(image: Image.Image) -> Image.Image:
    pixels = np.array(image.convert("HSV"))
    pixels[..., 0] += np.uint8(TURN)
    return Image.fromarray(pixels, "HSV").convert("RGB")


COPIES: dict[str, Callable[[bytes, Image.Image], bytes]] = {
    "the same bytes": lambda data, _: data,
    "JPEG quality 90": lambda _, image: _saved(image, "JPEG", quality=90),
    "JPEG quality 50": lambda _, image: _saved(image, "JPEG", quality=50),
    "half of each side": lambda _, image: _saved(_half(image), "JPEG", quality=90),
    f"cropped to {KEPT:.0%} of each side": lambda _, image: _saved(_cropped(image), "JPEG", quality=90),
    "PNG": lambda _, image: _saved(image, "PNG", compress_level=1),
    "WebP quality 80": lambda _, image: _saved(image, "WEBP", quality=80),
}
ORIGINAL, RECOLOURED = "photo", "recoloured"


def _small(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((64, 64), Image.Resampling.BOX), np.float32)


def photos(folder: Path, part: int) -> tuple[list[AddPicture], dict[Key, int]]:
    """The pictures to index, and which photo each shows: one number per picture and colour."""
    truth = GroundTruth.read(folder, [Part.RETRIEVAL]).retrieval
    assert truth is not None
    additions, shows, seen = [], {}, []
    for picture in truth.gallery:
        if zlib.crc32(picture.key.product_id.encode()) % PARTS != part:
            continue
        data = picture.file.read_bytes()
        with Image.open(io.BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        small = _small(image)
        twins = [number for number, other in seen if np.abs(other - small).mean() < ONE_PICTURE]
        number = twins[0] if twins else 2 * len(seen)
        seen.append((number, small))
        changed = _recoloured(image)
        made = {ORIGINAL: data, **{name: copy(data, image) for name, copy in COPIES.items()}}
        if np.abs(_small(changed) - small).mean() >= VISIBLE:
            made[RECOLOURED] = _saved(changed, "JPEG", quality=90)
        for name, content in made.items():
            key = Key(picture.key.pic_name, name)
            additions.append(AddPicture(name, key, InMemory(content)))
            shows[key] = number + (name == RECOLOURED)
    return additions, shows


def grouped(additions: list[AddPicture]) -> list[DuplicateGroup]:
    """The ``same`` groups of an instance with these pictures."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "instance"
        Instance.create(folder, Kind.GENERIC, limits=Limits(min_side=1))
        with Instance.open(folder) as instance:
            for outcome in instance.apply_stream(additions):
                if outcome.error is not None:
                    raise outcome.error
            with instance.duplicates() as found:
                return list(found.groups)


def measure(folder: Path, part: int) -> tuple[dict[str, tuple[int, int]], tuple[int, int], tuple[int, int]]:
    """By copy: found and all. Pairs in groups: right and all. Recoloured photos: apart from their photo, and all."""
    additions, shows = photos(folder, part)
    group_of: dict[Key, int] = {}
    right = total = 0
    for number, group in enumerate(grouped(additions)):
        keys = [one.item.key for one in group.pictures]
        group_of.update(dict.fromkeys(keys, number))
        for first, second in itertools.combinations(keys, 2):
            total += 1
            right += shows[first] == shows[second]
    found: Counter[str] = Counter()
    every: Counter[str] = Counter()
    apart = recoloured = 0
    for key in shows:
        together = group_of.get(key, -1) == group_of.get(Key(key.product_id, ORIGINAL), -2)
        if key.pic_name == RECOLOURED:
            recoloured += 1
            apart += not together
        elif key.pic_name != ORIGINAL:
            every[key.pic_name] += 1
            found[key.pic_name] += together
    return {name: (found[name], every[name]) for name in COPIES}, (right, total), (apart, recoloured)


def sample_data() -> None:
    """Colour variants of one product, as they come with the project."""
    files = sorted((ROOT / "sample_data" / "catalogue").rglob("*.jpg"))
    additions = [AddPicture(str(file), Key(file.parent.name, file.name), FilePicture(file)) for file in files]
    mixed = [group for group in grouped(additions) if len({one.item.key.product_id for one in group.pictures}) > 1]
    print(f"sample_data: {len(files)} pictures, {len(mixed)} groups join pictures of several products.")


def synthetic(size: int) -> Path:
    """The folder of an instance with so many pictures, and copies among them."""
    folder = instances.FOLDER / f"duplicates-{size}"
    if not folder.exists():
        print(f"making an instance of {size:,} items in {folder}", flush=True)
        Instance.create(folder)
        with closing(Engine.open(folder, write=True)) as engine:
            items = _items(size)
            while changes := list(itertools.islice(items, 4096)):
                with engine.committing() as store:
                    store.insert(changes)
    return folder


def _items(size: int) -> Iterator[Upsert]:
    generator = np.random.default_rng(50)
    number = 0
    before: Extracted | None = None
    for piece in instances.catalogue(size).pieces():
        # Signs of a feature differ in a share of the bits that rises with the angle, as perceptual hashes do.
        hashes = np.packbits(piece.features[:, :256] > 0, axis=1)
        for place, product in enumerate(piece.products.tolist()):
            content = hashlib.blake2b(b"%d" % number, digest_size=16).digest()
            feature, own = piece.features[place].astype(np.float32), hashes[place].tobytes()
            if number % EVERY == EVERY - 1 and before is not None:
                if number % (2 * EVERY) == EVERY - 1:
                    content = before.content_hash
                flipped = np.zeros(256, np.uint8)
                for half, most in enumerate(CHANGED_BITS):
                    flipped[128 * half + generator.choice(128, int(generator.integers(most + 1)), replace=False)] = 1
                assert before.picture_hash is not None
                own = (np.frombuffer(before.picture_hash, np.uint8) ^ np.packbits(flipped)).tobytes()
                feature = before.feature
            before = Extracted(
                content, None, Region(112, 711, 96, 688), (), int(piece.categories[place]), (), feature, own
            )
            attributes = Attributes(int_attr=number % 100, str_attr=f"brand-{piece.brands[place]}")
            yield Upsert(Key(f"p{product:07x}", f"{number}.jpg"), before, RegionMode.SUBJECT, False, attributes, None)
            number += 1


def large(size: int) -> None:
    """Time and memory of a command, and how many of the copies it finds."""
    command = [*IMGSEARCH, "duplicates", "-i", str(synthetic(size)), "--format", "jsonl"]
    seconds, peak = run(command)
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    pairs = Counter(len(json.loads(line)["Pictures"]) for line in lines)
    copies = sum((count - 1) * times for count, times in pairs.items())
    rows = [(f"{size:,}", seconds, f"{peak:.0f}", len(lines), copies, size // EVERY)]
    show("imgsearch duplicates, one process", ("items", "seconds", "peak MB", "groups", "copies", "planted"), rows)


def main() -> None:
    folder = EVALUATION_DATA / "retrieval"
    if (folder / "groundtruth.csv").exists():
        for part in range(PARTS):
            copies, (right, total), (apart, recoloured) = measure(folder, part)
            rows: list[tuple[object, ...]] = [(name, all_, found / all_) for name, (found, all_) in copies.items()]
            every = [sum(one[place] for one in copies.values()) for place in (0, 1)]
            rows.append(("all copies", every[1], every[0] / every[1]))
            rows.append(("precision of pairs", total, right / total))
            rows.append(("recoloured, told apart", recoloured, apart / recoloured))
            title = "thresholds chosen on it" if part == 0 else "nothing chosen on it"
            show(f"Copies of photos, part {part} ({title})", ("", "pictures", "share"), rows)
    else:
        print(f"duplicates: no ground truth in {folder}, left out")
    sample_data()
    large(max(size for size in SIZES if size <= LARGEST))


if __name__ == "__main__":
    main()
