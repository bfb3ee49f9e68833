"""Looking at pictures side by side without storing anything of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgsearch.ordered_futures import in_groups
from imgsearch.types import Content, Extracted, PictureOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgsearch.errors import InputError
    from imgsearch.types import PictureSource
    from imgsearch.vision.pipeline import Pipeline

__all__ = ["analysed"]


def analysed(
    pipeline: Pipeline, pictures: Iterable[tuple[PictureSource, PictureOptions]]
) -> Iterator[Extracted | InputError]:
    """What was found in each picture, or why it cannot be used, in their order; a bounded number is under way.

    Raises:
        InvalidModel, StampMismatch
    """
    futures = (pipeline.submit(picture, options, _never_known) for picture, options in pictures)
    for group in in_groups(futures, pipeline.look_ahead, 1):
        for result in group:
            assert not isinstance(result, Content)  # a bare token is given for known pictures only
            yield result


def _never_known(_content_hash: bytes) -> bool:
    return False
