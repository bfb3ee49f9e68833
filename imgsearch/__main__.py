"""``imgsearch`` and ``python -m imgsearch``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        from imgsearch.cli.app import app_for

        app_for(sys.argv[1:])(prog_name="imgsearch")
    except KeyboardInterrupt:  # before any command had begun
        sys.exit(130)


if __name__ == "__main__":
    main()
