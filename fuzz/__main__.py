"""``python -m fuzz [TARGET…] [--seconds N]``: run all fuzzers, or the named ones, each in a process of its own.

What a target finds stays in ``fuzz/findings``, and is tried again with ``python -m fuzz.TARGET FILE``; inputs that
reach new code stay in ``fuzz/corpus``, and the next run goes on from there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from fuzz.seeds import SEEDS

HOME = Path(__file__).parent
TARGETS = tuple(SEEDS)
SECONDS_PER_INPUT = 20
MEBIBYTES = 2048


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=300, help="for each target")
    arguments = parser.parse_args()
    failed = [name for name in arguments.targets or TARGETS if not _fuzz(name, arguments.seconds)]
    if failed:
        sys.stderr.write(f"findings in {', '.join(failed)}: see {HOME / 'findings'}\n")
    return 1 if failed else 0


def _fuzz(name: str, seconds: int) -> bool:
    """Whether a target found nothing."""
    corpus = HOME / "corpus" / name
    findings = HOME / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    for number, seed in enumerate(SEEDS[name]()):
        (corpus / f"seed-{number:04}").write_bytes(seed)
    command = [
        sys.executable, "-m", f"fuzz.{name}", str(corpus),
        f"-max_total_time={seconds}", f"-timeout={SECONDS_PER_INPUT}", f"-rss_limit_mb={MEBIBYTES}",
        f"-artifact_prefix={findings / name}-", "-print_final_stats=1", "-verbosity=0",
    ]  # fmt: skip
    sys.stdout.write(f"{name}: {seconds} s\n")
    sys.stdout.flush()
    return subprocess.run(command, check=False, cwd=HOME.parent).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
