"""``python -m fuzz.fuzzing TARGET [FILE or libFuzzer's arguments]``: one target in this process, until it ends."""

from __future__ import annotations

import sys

import atheris

from fuzz.targets import TARGETS


def main() -> None:
    name = sys.argv.pop(1)
    chosen = TARGETS[name]
    # Whatever is imported within is compiled so that it tells the fuzzer which branches it takes.
    with atheris.instrument_imports(include=[*chosen.parsers, *chosen.libraries]):
        target = chosen.load(name)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
