"""``imgsearch`` and ``python -m imgsearch``."""

from __future__ import annotations

import os
import sys

from imgsearch import own_process

__all__ = ["main", "run"]


def main() -> None:
    """Run the command line and end with its exit code, as SystemExit."""
    own_process.claim(sys.argv[1:])
    try:
        from imgsearch.cli.app import app_for

        app_for(sys.argv[1:])(prog_name="imgsearch")
    except KeyboardInterrupt:  # before any command had begun
        sys.exit(130)


def run() -> None:
    """``main``, as a program: the process ends when the command has, without taking the interpreter down.

    Commands close what they open. Freeing compiled networks and thousands of objects one by one takes longer than a
    search does.
    """
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    else:
        code = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # whoever read it has gone; the command has said what there was to say
            code = code or 1
    os._exit(code)


if __name__ == "__main__":
    run()
