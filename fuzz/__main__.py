"""``python -m fuzz [TARGET…] [--seconds N] [--coverage]``: run all fuzzers, or some, each in a process of its own.

What a target finds stays in ``fuzz/findings``, and is tried again with ``python -m fuzz.fuzzing TARGET FILE``; inputs
that reach new code stay in ``fuzz/corpus``, and the next run goes on from there. At the end, the line coverage of the
parsers is printed; below 90 % of one of them, the run has failed. ``--coverage`` measures it without fuzzing.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from fuzz.seeds import SEEDS
from fuzz.targets import TARGETS

HOME = Path(__file__).parent
SECONDS_PER_INPUT = 20
MEBIBYTES = 2048
END_CHARS = 3_000
"""Of what the fuzzer says, if it finds something."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument("--coverage", action="store_true", help="measure what earlier runs have kept; do not fuzz")
    arguments = parser.parse_args()
    names = arguments.targets or list(TARGETS)
    failed = [] if arguments.coverage else [name for name in names if not _fuzz(name, arguments.seconds)]
    if failed:
        sys.stderr.write(f"findings in {', '.join(failed)}: see {HOME / 'findings'}\n")
        return 1
    measuring = [sys.executable, "-m", "fuzz.coverage_report", str(HOME / "corpus"), *names]
    return subprocess.run(measuring, check=False, cwd=HOME.parent).returncode


def _fuzz(name: str, seconds: int) -> bool:
    """Whether a target found nothing."""
    corpus = HOME / "corpus" / name
    findings = HOME / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(exist_ok=True)
    for number, seed in enumerate(SEEDS[name]()):
        (corpus / f"seed-{number:04}").write_bytes(seed)
    command = [
        sys.executable, "-m", "fuzz.fuzzing", name, str(corpus),
        f"-max_total_time={seconds}", f"-timeout={SECONDS_PER_INPUT}", f"-rss_limit_mb={MEBIBYTES}",
        f"-artifact_prefix={findings / name}-", "-print_final_stats=1", "-verbosity=0",
    ]  # fmt: skip
    log = findings / f"{name}.log"
    with log.open("wb") as file:
        status = subprocess.run(command, check=False, cwd=HOME.parent, stdout=file, stderr=file).returncode
    said = log.read_text(errors="replace")
    executions = re.search(r"number_of_executed_units: (\d+)", said)
    told = f"{int(executions[1]):,}" if executions else "unknown"
    sys.stdout.write(f"{name:14} {seconds} s, {told} executions, {'nothing found' if status == 0 else 'FINDING'}\n")
    if status:
        sys.stdout.write(said[-END_CHARS:])
    sys.stdout.flush()
    return status == 0


if __name__ == "__main__":
    sys.exit(main())
