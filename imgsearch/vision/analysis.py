"""Looking at pictures side by side without storing anything of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgsearch.errors import InputError
from imgsearch.ordered_futures import in_groups
from imgsearch.service.categories import OTHER, check_category
from imgsearch.types import Content, Extracted, Recalled
from imgsearch.values import PictureOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    import numpy as np
    import numpy.typing as npt

    from imgsearch.types import PictureSource
    from imgsearch.vision.pipeline import Pipeline

__all__ = ["analysed", "embedded"]


def analysed(
    pipeline: Pipeline, pictures: Iterable[tuple[PictureSource, PictureOptions]]
) -> Iterator[Extracted | InputError]:
    """What was found in each picture, or why it cannot be used, in their order; a bounded number is under way.

    Raises:
        InvalidCategory: options name one that does not exist.
        InvalidModel, StampMismatch
    """

    def submitted() -> Iterator[Future[Extracted | Recalled | Content]]:
        for picture, options in pictures:
            check_category(options.category_id)
            yield pipeline.submit(picture, options, _never_known)

    for group in in_groups(submitted(), pipeline.look_ahead, 1):
        for result in group:
            assert not isinstance(result, Content | Recalled)  # no picture is known
            yield result


def embedded(pipeline: Pipeline, pictures: Iterable[PictureSource], *, crop: bool) -> list[npt.NDArray[np.float32]]:
    """The feature of each picture, of shape (dimension,).

    Args:
        pipeline: with the networks.
        pictures: read no further ahead than needed.
        crop: of the subject that is found; False: of the whole picture.

    Raises:
        InputError: of the first one that cannot be used, which is named by its place.
        InvalidModel, StampMismatch
    """
    options = PictureOptions(OTHER, crop=crop)  # with a category, none is predicted, which features do not depend on
    features = []
    for number, result in enumerate(analysed(pipeline, ((picture, options) for picture in pictures))):
        if isinstance(result, InputError):
            raise type(result)(f"pictures[{number}]: {result.message}", code=result.code)
        features.append(result.feature)
    return features


def _never_known(_content_hash: bytes) -> bool:
    return False
