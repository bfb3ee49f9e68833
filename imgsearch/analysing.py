"""Looking at pictures side by side without storing anything of them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from imgsearch.errors import InputError, InvalidModel
from imgsearch.records import Content, Extracted, PictureOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from imgsearch.algorithm.pipeline import Pipeline
    from imgsearch.records import PictureSource

__all__ = ["analysed"]


def analysed(
    pipeline: Pipeline, pictures: Iterable[tuple[PictureSource, PictureOptions]]
) -> Iterator[Extracted | InputError]:
    """What was found in each picture, or why it cannot be used, in their order; a bounded number is under way.

    Raises:
        InvalidModel, StampMismatch
    """
    waiting: deque[Future[Extracted | Content]] = deque()
    for picture, options in pictures:
        waiting.append(pipeline.submit(picture, options, _never_known))
        if len(waiting) > pipeline.look_ahead:
            yield _result(waiting.popleft())
    while waiting:
        yield _result(waiting.popleft())


def _never_known(_content_hash: bytes) -> bool:
    return False


def _result(future: Future[Extracted | Content]) -> Extracted | InputError:
    try:
        result = future.result()
    except InvalidModel:  # no picture's fault
        raise
    except InputError as error:
        return error
    assert isinstance(result, Extracted)  # a bare token is given for known pictures only
    return result
