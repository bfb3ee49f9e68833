"""What the parts of one evaluation share: the instance that is measured, how, and which pictures failed."""

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
    """One evaluation under way."""

    instance: Instance
    """Empty at first; made for this and thrown away afterwards."""
    options: PictureOptions
    any_category: bool
    workers: int | None
    progress: Callable[[str, int, int], None]
    """Told what is being done, with how many pictures it is done, and of how many."""
    details: Details | None = None
    """Where what becomes of each picture is noted; None: nobody wants to know."""
    failures: list[Failure] = field(default_factory=list)

    def fail(self, source: str, error: ImgsearchError) -> None:
        """Take note of a picture that cannot be used.

        Raises:
            InvalidModel: given as the error; no other picture would fare better.
        """
        if isinstance(error, InvalidModel):
            raise error
        self.failures.append(Failure(source, error))

    def analysed(self, step: str, files: Sequence[Path]) -> Iterator[Extracted | None]:
        """What is found in each picture, in order; None for one that cannot be used, which is taken note of."""
        results = self.instance.analyse(((FilePicture(file), self.options) for file in files), workers=self.workers)
        for number, (file, result) in enumerate(zip(files, results, strict=True), 1):
            self.progress(step, number, len(files))
            if isinstance(result, Extracted):
                yield result
            else:
                self.fail(str(file), result)
                yield None
