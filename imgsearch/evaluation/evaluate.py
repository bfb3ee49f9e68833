"""Running an evaluation: from a labelled folder to figures.

It uses its own instance, in the system's temporary folder or in a database, which holds features only and is always
removed at the end.
Pictures take the same path as in ``add`` and ``search``, so the figures are representative.
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
from imgsearch.storage.backends import backend_for
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
"""Locked while the process that created the folder lives; unlocked means left by a killed one."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results; None for parts that the folder lacks or that were not requested."""

    model: str
    kind: Kind
    limits: Limits
    """The picture limits that applied."""
    retrieval: Breakdown[RetrievalFigures] | None
    """By source."""
    categories: CategoryReport | None
    subjects: Breakdown[SubjectFigures] | None
    """By kind of picture."""
    failures: list[Failure]
    """Pictures that could not be used; each counts as missed."""
    seconds: float
    left_out: Breakdown[RetrievalFigures] | None = None
    """Retrieval by source, each measured with parameters trained without it."""


def _ignore(*_: object) -> None:
    """Do nothing."""


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
    engine: str | None = None,
    index: str | None = None,
    details: Details | None = None,
    announce: Callable[[str], None] = _ignore,
    progress: Callable[[str, int, int], None] = _ignore,
) -> Evaluation:
    """Measure search, category prediction and subject detection on labelled pictures.

    Args:
        folder: with tables, or with a folder of pictures per product, as in ``GroundTruth.read``.
        parts: to be measured; those that the folder lacks are left out. A generic instance has no categories, and
            without ``crop`` no subject is detected.
        alike: measure with the kind, model and limits of this instance, which is not modified; the next three
            arguments are then ignored.
        kind: with categories or without.
        model: an embedded model, or a timm architecture.
        weights: a local file of weights for it.
        crop: detect the subject of each picture; else use the whole picture.
        any_category: search all categories, not only that of the query.
        workers: pictures processed at once; by default three per core.
        cache: of converted models; by default the user's.
        sources: use only queries of these sources; empty: all.
        left_out: folder of parameters, each trained without one source (``left_out.py``): also measure retrieval
            with these.
        engine: measure in a database, at an address where no instance is; None: in a folder.
        index: with such a database, the address of the server of its index; None: the database.
        details: collects the result of each picture, if given.
        announce: called with a line about each slow step.
        progress: called with the step, the number of pictures done, and their total.

    Raises:
        InvalidGroundTruth: there is nothing to measure, or a table is invalid.
        UsageError: sources cannot be left out with these settings or this folder.
        InstanceExists: there is one at that address.
        InvalidModel, StampMismatch, RemoteUnavailable, StorageFull, StorageUnwritable
    """
    begun = time.perf_counter()
    folder = Path(folder)
    kind = kind if alike is None else alike.kind
    truth = _measurable(GroundTruth.read(folder, parts), kind, announce, crop=crop)
    if sources:
        if truth.retrieval is None:
            raise UsageError("sources select queries: measure retrieval too, or leave out the sources")
        truth = replace(truth, retrieval=truth.retrieval.asked_by(sources))
    if left_out is not None and (alike is not None or truth.retrieval is None):
        raise UsageError("leaving out sources requires a folder with queries, and cannot be combined with an instance")
    backend_for(Path(), engine, index)  # refuses what is no engine
    if index is not None and alike is not None:
        raise UsageError("an index on a server of its own cannot be had with another instance's settings")
    parameters = left_out and truth.retrieval and parameters_of(left_out, truth.retrieval, announce)

    def make(target: Path | str) -> None:
        if alike is None:
            Instance.create(target, kind, model=model, weights=weights, index=index, cache=cache, announce=announce)
        else:
            alike.create_alike(target)

    with (
        _remote_instance(make, engine, cache, announce)
        if engine
        else _temporary_instance(make, cache, announce) as instance
    ):
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
    if not parameters:
        return result
    settings = {"kind": kind, "model": model, "weights": weights, "crop": crop, "any_category": any_category}
    figures = measure_left_out(folder, parameters, announce=announce, workers=workers, cache=cache, **settings)
    return replace(result, left_out=figures, seconds=time.perf_counter() - begun)


def _measurable(truth: GroundTruth, kind: Kind, announce: Callable[[str], None], *, crop: bool) -> GroundTruth:
    """Leave out parts that cannot be measured with these settings, and announce them.

    Raises:
        InvalidGroundTruth: no part is left.
    """
    reasons = []
    if kind is Kind.GENERIC and truth.categories is not None:
        truth = replace(truth, categories=None)
        reasons.append("no categories are measured, as a generic instance has none")
    if not crop and truth.subjects is not None:
        truth = replace(truth, subjects=None)
        reasons.append("no subjects are measured, as none are detected when the whole picture is used")
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


@contextmanager
def _remote_instance(
    make: Callable[[str], None], engine: str, cache: Path | None, announce: Callable[[str], None]
) -> Iterator[Instance]:
    make(engine)
    try:
        with Instance.open(engine, cache=cache, announce=announce) as instance:
            try:
                yield instance
            finally:
                products = {item.key.product_id for item in instance.items()}
                for _ in instance.delete_stream((name, None) for name in products):
                    pass
    finally:
        Instance.remove_if_empty(engine)


def _remove_abandoned(place: Path) -> None:
    """Remove what this user's killed evaluations left in the temporary folder, as far as possible."""
    for folder in place.glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError, Timeout):
            status = folder.lstat()
            ours = os.name == "nt" or status.st_uid == os.getuid()
            if stat.S_ISDIR(status.st_mode) and ours and (folder / IN_USE_NAME).is_file():
                with FileLock(folder / IN_USE_NAME, timeout=0):  # succeeds only if its holder has died
                    shutil.rmtree(folder)
