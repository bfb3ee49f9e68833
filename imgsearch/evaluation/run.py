"""State shared by the parts of one evaluation: the instance, the settings, and failed pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgsearch.errors import ImgsearchError, InvalidModel
from imgsearch.sources.files import FilePicture
from imgsearch.types import Extracted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from imgsearch.evaluation.details import Details
    from imgsearch.instance import Instance
    from imgsearch.values import PictureOptions

__all__ = ["Failure", "Run"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that could not be used; it counts as missed."""

    source: str
    error: ImgsearchError


@dataclass(slots=True)
class Run:
    """An evaluation in progress."""

    instance: Instance
    """Temporary, and empty at first."""
    options: PictureOptions
    any_category: bool
    workers: int | None
    progress: Callable[[str, int, int], None]
    """Called with the step, the number of pictures done, and their total."""
    details: Details | None = None
    """Collects the result of each picture; None: not needed."""
    failures: list[Failure] = field(default_factory=list)

    def fail(self, source: str, error: ImgsearchError) -> None:
        """Record a picture that cannot be used.

        Raises:
            InvalidModel: if this is the error, as every other picture would fail too.
        """
        if isinstance(error, InvalidModel):
            raise error
        self.failures.append(Failure(source, error))

    def analysed(self, step: str, files: Sequence[Path]) -> Iterator[Extracted | None]:
        """Yield what is found in each picture, in order; None for a failed one, which is recorded."""
        results = self.instance.analyse(((FilePicture(file), self.options) for file in files), workers=self.workers)
        for number, (file, result) in enumerate(zip(files, results, strict=True), 1):
            self.progress(step, number, len(files))
            if isinstance(result, Extracted):
                yield result
            else:
                self.fail(str(file), result)
                yield None
