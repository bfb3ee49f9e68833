"""Render the sample catalogue with POV-Ray and write the files that go with it.

    python sample_data/render.py                     # everything, in place
    python sample_data/render.py --only mug-red      # one product (may be repeated)
    python sample_data/render.py --out /tmp/draft --draft --sheet /tmp/sheet.png

Needs POV-Ray 3.7 and Pillow. The products and their pictures are listed in ``products.py``, the shapes, materials,
backgrounds and lights are in ``scenes/``. One thread is used, so that a second run gives the same pictures.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from PIL import Image
from products import PRODUCTS, STAGES, Product, Shot

HERE: Final = Path(__file__).resolve().parent
SCENES: Final = HERE / "scenes"
MISSING: Final = """\
POV-Ray was not found. Install version 3.7 and try again:
  Debian, Ubuntu: apt-get install povray
  macOS:          brew install povray
  others:         https://www.povray.org/download/"""

Picture = tuple[str, Product, Shot]  # path below the output folder, what it shows, how


def pictures(products: Iterable[Product]) -> Iterator[Picture]:
    """Every picture of the products: the catalogue ones of a product first, then its query."""
    for product in products:
        for shot in product.catalogue:
            yield f"catalogue/{product.id}/{shot.view}{shot.suffix}", product, shot
        yield f"queries/{product.id}{product.query.suffix}", product, product.query


def linear(code: str) -> str:
    """Turn each ``#rrggbb`` (sRGB) in scene text into POV-Ray's ``rgb <r, g, b>`` (linear)."""

    def replace(match: re.Match[str]) -> str:
        channels = (int(match[0][i : i + 2], 16) / 255 for i in (1, 3, 5))
        values = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return "rgb <" + ", ".join(f"{value:.4f}" for value in values) + ">"

    return re.sub(r"#[0-9a-fA-F]{6}\b", replace, code)


def scene(product: Product, shot: Shot) -> str:
    """The scene description of one picture."""
    width, height = shot.size
    pose = ", ".join(f"{angle:g}" for angle in shot.pose)
    return linear(
        f"""#version 3.7;
#include "common.inc"
#include "{product.shape}.inc"
{STAGES[shot.stage]}
Light_{shot.light}()
Shoot(object {{ {product.model} }}, <{pose}>, {shot.turn:g}, {shot.tilt:g}, {width / height:.4f}, {shot.fill:g})
"""
    )


def render(povray: str, text: str, size: tuple[int, int], draft: bool) -> Image.Image:
    """Run POV-Ray on a scene description."""
    width, height = (side // 2 for side in size) if draft else size
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "scene.pov"), Path(folder, "scene.png")
        source.write_text(text, encoding="ascii")
        command = [povray, f"+I{source}", f"+O{target}", f"+W{width}", f"+H{height}", f"+L{SCENES}"]
        command += ["+FN8", "-D", "-P", "-V", "+WT1", "+Q9", "-A" if draft else "+A0.3", "+AM1", "+R2"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0 or not target.exists():
            raise RuntimeError(f"povray failed:\n{done.stderr[-2500:]}")
        with Image.open(target) as image:
            return image.convert("RGB")


def save(image: Image.Image, path: Path) -> None:
    """Write a picture in the format its name asks for, without metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        image.save(path, optimize=True)
    elif path.suffix == ".webp":
        image.save(path, quality=85, method=6)
    else:
        image.save(path, quality=85, optimize=True)


def write_tables(out: Path) -> None:
    """Write ``increment.meta`` (what an index is filled with) and ``groundtruth.csv`` (what a search should find)."""
    with (
        open(out / "increment.meta", "w", encoding="utf-8", newline="\n") as meta,
        open(out / "groundtruth.csv", "w", encoding="utf-8", newline="") as truth,
    ):
        rows = csv.writer(truth, lineterminator="\n")
        rows.writerow(("file", "split", "product_id", "category", "source", "view"))
        for name, product, shot in pictures(PRODUCTS):
            gallery = name.startswith("catalogue/")
            split = "gallery" if gallery else "query"
            rows.writerow((name, split, product.id, product.category, "sample", shot.view))
            if gallery:
                entry = {
                    "OperationType": "ADD",
                    "ProductId": product.id,
                    "PicName": name,
                    "CategoryId": product.category,
                    "IntAttr": product.cents,
                    "StrAttr": product.colour,
                    "StrAttr2": product.material,
                    "CustomContent": f"title:{product.title}",
                }
                meta.write(json.dumps(entry, separators=(",", ":")) + "\n")


def write_sheet(out: Path, todo: list[Picture], target: Path) -> None:
    """Put thumbnails of the pictures on one contact sheet, to look them over."""
    columns, cell = 8, 200
    sheet = Image.new("RGB", (columns * cell, -(-len(todo) // columns) * cell), "magenta")
    for i, (name, _, _) in enumerate(todo):
        with Image.open(out / name) as image:
            image.thumbnail((cell - 4, cell - 4))
            sheet.paste(image, (i % columns * cell + 2, i // columns * cell + 2))
    sheet.save(target)


def main() -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description="Render the sample catalogue.")
    parser.add_argument("--only", action="append", metavar="PRODUCT", help="render this product only (may be repeated)")
    parser.add_argument(
        "--out", type=Path, default=HERE, metavar="DIR", help="where to write (default: beside this file)"
    )
    parser.add_argument("--draft", action="store_true", help="half size, no antialiasing")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="also write a contact sheet of what was rendered")
    arguments = parser.parse_args()

    povray = shutil.which("povray")
    if povray is None:
        print(MISSING, file=sys.stderr)
        return 1
    unknown = set(arguments.only or ()) - {product.id for product in PRODUCTS}
    if unknown:
        parser.error(f"no such product: {', '.join(sorted(unknown))}")

    todo = list(pictures(p for p in PRODUCTS if not arguments.only or p.id in arguments.only))
    for number, (name, product, shot) in enumerate(todo, 1):
        print(f"[{number}/{len(todo)}] {name}", flush=True)
        save(render(povray, scene(product, shot), shot.size, arguments.draft), arguments.out / name)
    write_tables(arguments.out)
    if arguments.sheet:
        write_sheet(arguments.out, todo, arguments.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
