"""Leave-source-out figures: each source measured with parameters trained without it.

``python -m training`` writes these parameters: a folder for each source, and ``sources.json``, which maps sources to
folders. A process reads parameters once, and converted networks depend on them, so each source is measured in a
separate process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import InvalidGroundTruth, UsageError
from imgsearch.evaluation.breakdown import Breakdown
from imgsearch.evaluation.calibration import Grade
from imgsearch.evaluation.ground_truth import Part
from imgsearch.evaluation.retrieval import Found, RetrievalFigures
from imgsearch.vision.trained_weights import PARAMETERS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgsearch.evaluation.ground_truth import RetrievalTruth

__all__ = ["measure_left_out", "parameters_of"]

SOURCES_NAME: Final = "sources.json"


def parameters_of(parameters: Path, truth: RetrievalTruth, announce: Callable[[str], None]) -> dict[str, Path]:
    """For each source of the queries, the parameters trained without it; announces sources that have none.

    Raises:
        UsageError: the folder does not hold such parameters.
        InvalidGroundTruth: there are none for any source.
    """
    known = _known_sources(parameters)
    sources = sorted({query.source for query in truth.queries if query.source is not None})
    if not known.keys() & set(sources):
        raise InvalidGroundTruth(f"no query has a source listed in {parameters}: {', '.join(known)}")
    for source in sources:
        if source not in known:
            announce(f"Left out: {parameters} has no parameters trained without {source}")
    return {source: known[source] for source in sources if source in known}


def measure_left_out(
    folder: Path, parameters: dict[str, Path], *, announce: Callable[[str], None], **settings: Any
) -> Breakdown[RetrievalFigures]:
    """Retrieval figures by source and over all sources.

    The catalogue is always complete; each run uses the queries of one source.

    Args:
        folder: with a retrieval table that names sources.
        parameters: by source, as returned by ``parameters_of``.
        announce: called with a line about each slow step.
        settings: of ``evaluate``: kind, model, weights, crop, any_category, workers, cache.
    """
    singles = []
    for source, own in parameters.items():
        announce(f"Measuring {source} with parameters trained without it …")
        singles += [(source, found) for found in _found(folder, source, own, settings)]
    return Breakdown.of(singles, RetrievalFigures.of)


def _known_sources(parameters: Path) -> dict[str, Path]:
    """For each source, the folder of parameters trained without it."""
    path = parameters / SOURCES_NAME
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
        folders = {source: parameters / name for source, name in names.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{path} cannot be read ({error}): pass the folder of parameters that 'python -m training' writes"
        ) from None
    missing = [str(one) for one in folders.values() if not one.is_dir()]
    if missing:
        raise UsageError(f"{path} names folders that are missing: {', '.join(missing)}")
    return folders


def _found(folder: Path, source: str, parameters: Path, settings: dict[str, Any]) -> list[Found]:
    """Results of the queries of one source, measured in a separate process."""
    request = {"folder": str(folder), "source": source, **settings}
    finished = subprocess.run(
        [sys.executable, "-P", "-m", "imgsearch.evaluation.left_out"],
        input=json.dumps(request, default=str),
        env={**os.environ, PARAMETERS_VARIABLE: str(parameters.resolve())},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"measuring {source} in a separate process ended with status {finished.returncode}")
    return [
        Found(**{**one, "ranks": tuple(one["ranks"]), "grades": tuple(Grade(**grade) for grade in one["grades"])})
        for one in json.loads(finished.stdout)
    ]


def main() -> None:
    """Entry point of the process for one source: reads a request from stdin, writes results to stdout."""
    from imgsearch.evaluation.details import Details
    from imgsearch.evaluation.evaluate import evaluate
    from imgsearch.service.categories import Kind

    request = json.load(sys.stdin)
    folder, source, kind = (request.pop(name) for name in ("folder", "source", "kind"))
    weights, cache = (None if path is None else Path(path) for path in (request.pop("weights"), request.pop("cache")))
    details = Details()
    evaluate(
        Path(folder),
        [Part.RETRIEVAL],
        kind=Kind(kind),
        weights=weights,
        cache=cache,
        sources=[source],
        details=details,
        **request,
    )
    json.dump([asdict(answer.found) for answer in details.answers], sys.stdout)


if __name__ == "__main__":
    main()
