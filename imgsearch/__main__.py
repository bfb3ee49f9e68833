"""``imgsearch`` and ``python -m imgsearch``."""

from __future__ import annotations

import os
import sys

from imgsearch import own_process

__all__ = ["main", "run"]


def main() -> None:
    """Run the command line; raises SystemExit with its exit code."""
    own_process.open_standard_streams()
    own_process.claim(sys.argv[1:])
    try:
        from imgsearch.cli.warm_client import answered

        code = answered(sys.argv[1:])
        if code is not None:
            sys.exit(code)
        from imgsearch.cli.early_search import begin

        begin(sys.argv[1:])
        from imgsearch.cli.app import app_for
        from imgsearch.cli.errors import exit_code_of

        sys.exit(exit_code_of(app_for(sys.argv[1:]), sys.argv[1:]))
    except KeyboardInterrupt:  # before a command started
        sys.exit(130)


def run() -> None:
    """Run ``main`` as a program and exit without tearing down the interpreter.

    Commands close what they open. Freeing compiled networks and thousands of objects takes longer than a search.
    """
    os._exit(own_process.exit_code(main))


if __name__ == "__main__":
    run()
