"""One evaluation from beginning to end: a labelled folder in, figures out.

It is measured in an instance of its own, in the system's temporary folder: features only, removed at the end whatever
happens. The pictures go the same way as in ``add`` and ``search``, so the figures are those of the product.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from imgsearch.durable_fs import file_errors, temporary_folder
from imgsearch.errors import InvalidGroundTruth, UsageError
from imgsearch.evaluation.categories import measure_categories
from imgsearch.evaluation.ground_truth import GroundTruth, Part
from imgsearch.evaluation.left_out import measure_left_out, parameters_of
from imgsearch.evaluation.retrieval import measure_retrieval
from imgsearch.evaluation.run import Run
from imgsearch.evaluation.subjects import measure_subjects
from imgsearch.instance import Instance
from imgsearch.service.categories import Kind
from imgsearch.values import PictureOptions
from imgsearch.vision.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from imgsearch.evaluation.breakdown import Breakdown
    from imgsearch.evaluation.categories import CategoryReport
    from imgsearch.evaluation.details import Details
    from imgsearch.evaluation.retrieval import RetrievalFigures
    from imgsearch.evaluation.run import Failure
    from imgsearch.evaluation.subjects import SubjectFigures
    from imgsearch.vision.limits import Limits

__all__ = ["Evaluation", "evaluate"]

FOLDER_PREFIX: Final = "imgsearch-eval-"
IN_USE_NAME: Final = "in-use.lock"
"""Locked as long as the process that made the folder lives: what a killed one has left can be told by it."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured; None for a part that the folder lacks or that was not asked for."""

    model: str
    kind: Kind
    limits: Limits
    """That each picture had to meet."""
    retrieval: Breakdown[RetrievalFigures] | None
    """By source."""
    categories: CategoryReport | None
    subjects: Breakdown[SubjectFigures] | None
    """By kind of picture."""
    failures: list[Failure]
    """Pictures that could not be used; each counts as missed."""
    seconds: float
    left_out: Breakdown[RetrievalFigures] | None = None
    """Retrieval by source, each measured with parameters that learned nothing from it."""


def _ignore(*_: object) -> None:
    """Tell nobody."""


def evaluate(
    folder: str | os.PathLike[str],
    parts: Collection[Part] = tuple(Part),
    *,
    alike: Instance | None = None,
    kind: Kind = Kind.PRODUCT,
    model: str = DEFAULT_MODEL,
    weights: Path | None = None,
    crop: bool = True,
    any_category: bool = False,
    workers: int | None = None,
    cache: Path | None = None,
    sources: Collection[str] = (),
    left_out: Path | None = None,
    details: Details | None = None,
    announce: Callable[[str], None] = _ignore,
    progress: Callable[[str, int, int], None] = _ignore,
) -> Evaluation:
    """Measure how good search, category prediction and subject finding are on pictures whose answers are known.

    Args:
        folder: with tables, or with a folder of pictures per product; ``GroundTruth.read`` says how.
        parts: those that are wanted; what the folder lacks is left out. A generic instance has no categories, and
            without ``crop`` no subject is looked for.
        alike: measure with the kind, model and limits of this instance, which is not touched; the next three are then
            not used.
        kind: with categories or without.
        model: an embedded model, or a timm architecture.
        weights: a local file of weights for it.
        crop: find the subject of each picture; else take the whole.
        any_category: search all categories, not only that of the query.
        workers: pictures under way at once; by default three per core.
        cache: of converted models; the user's own by default.
        sources: only queries of these sources; none: all.
        left_out: folder of parameters, each of which learned nothing from one source (``left_out.py``): retrieval is
            measured with these as well, with the default model.
        details: takes up what became of each picture, if that is wanted.
        announce: told in one line what takes its time.
        progress: told what is being done, with how many pictures it is done, and of how many.

    Raises:
        InvalidGroundTruth: there is nothing to measure, or a table cannot be used.
        UsageError: sources cannot be left out with these settings, or that folder.
        InvalidModel, StampMismatch, StorageFull, StorageUnwritable
    """
    begun = time.perf_counter()
    folder = Path(folder)
    kind = kind if alike is None else alike.kind
    truth = _measurable(GroundTruth.read(folder, parts), kind, announce, crop=crop)
    if sources:
        if truth.retrieval is None:
            raise UsageError("sources are those of queries: measure retrieval, or name none")
        truth = replace(truth, retrieval=truth.retrieval.asked_by(sources))
    if left_out is not None and (alike is not None or model != DEFAULT_MODEL or truth.retrieval is None):
        raise UsageError("leaving sources out is measured with the default model, on a folder with queries")
    apart = left_out and truth.retrieval and parameters_of(left_out, truth.retrieval, announce)

    def make(target: Path) -> None:
        if alike is None:
            Instance.create(target, kind, model=model, weights=weights, cache=cache, announce=announce)
        else:
            alike.create_alike(target)

    with _temporary_instance(make, cache, announce) as instance:
        run = Run(instance, PictureOptions(crop=crop), any_category, workers, progress, details)
        result = Evaluation(
            model=instance.model.name,
            kind=kind,
            limits=instance.limits,
            retrieval=None if truth.retrieval is None else measure_retrieval(run, truth.retrieval),
            categories=None if truth.categories is None else measure_categories(run, truth.categories),
            subjects=None if truth.subjects is None else measure_subjects(run, truth.subjects),
            failures=run.failures,
            seconds=time.perf_counter() - begun,
        )
    if not apart:
        return result
    settings = {"kind": kind, "crop": crop, "any_category": any_category, "workers": workers, "cache": cache}
    figures = measure_left_out(folder, apart, announce=announce, **settings)
    return replace(result, left_out=figures, seconds=time.perf_counter() - begun)


def _measurable(truth: GroundTruth, kind: Kind, announce: Callable[[str], None], *, crop: bool) -> GroundTruth:
    """Leave out what these settings leave nothing to measure of, and say so.

    Raises:
        InvalidGroundTruth: then nothing is left.
    """
    reasons = []
    if kind is Kind.GENERIC and truth.categories is not None:
        truth = replace(truth, categories=None)
        reasons.append("no categories are measured: a generic instance has none")
    if not crop and truth.subjects is not None:
        truth = replace(truth, subjects=None)
        reasons.append("no subjects are measured: none is looked for where the whole picture counts")
    if not truth.parts():
        raise InvalidGroundTruth("; ".join(reasons))
    for reason in reasons:
        announce(f"Left out: {reason}")
    return truth


@contextmanager
def _temporary_instance(
    make: Callable[[Path], None], cache: Path | None, announce: Callable[[str], None]
) -> Iterator[Instance]:
    place = temporary_folder()
    _remove_abandoned(place)
    with file_errors(place):
        temporary = tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX)
    with temporary as name, FileLock(Path(name) / IN_USE_NAME, mode=0o600):
        target = Path(name) / "instance"
        make(target)
        with Instance.open(target, cache=cache, announce=announce) as instance:
            yield instance


def _remove_abandoned(place: Path) -> None:
    """Remove what evaluations of this user left in a temporary folder when they were killed, as far as that goes."""
    for folder in place.glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError, Timeout):
            status = folder.lstat()
            ours = os.name == "nt" or status.st_uid == os.getuid()
            if stat.S_ISDIR(status.st_mode) and ours and (folder / IN_USE_NAME).is_file():
                with FileLock(folder / IN_USE_NAME, timeout=0):  # it ended with the process that held it
                    shutil.rmtree(folder)
