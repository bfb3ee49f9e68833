"""Computing the perceptual hashes that items lack, from their pictures in their original locations."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InputError, UnreadableSource
from imgsearch.filters.tree import EVERYTHING
from imgsearch.sources.files import FilePicture
from imgsearch.types import Outcome, Status
from imgsearch.vision.decoder_pool import Decoders
from imgsearch.vision.models import LOCATOR_SIZE
from imgsearch.vision.picture_hash import picture_hash
from imgsearch.vision.pipeline import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from imgsearch.storage.port import Storage
    from imgsearch.types import Item
    from imgsearch.vision.limits import Limits

__all__ = ["hash_missing"]

COMMIT_ITEMS: Final = 256


def hash_missing(engine: Storage, limits: Limits, workers: int) -> Iterator[Outcome]:
    """Store the hashes of all items that have none; each outcome is yielded after its commit.

    Pictures are decoded in processes of their own; no network runs. One that has changed since it was added has failed:
    its feature is of another picture.

    Args:
        engine: of the instance, whose lock the caller holds.
        limits: of the instance.
        workers: pictures under way at once.
    """
    missing: list[int] = []
    for piece in engine.store.fingerprints(EVERYTHING):
        missing += (number for number, one in zip(piece.ids.tolist(), piece.hashes, strict=True) if one is None)
    with closing(Decoders(limits)) as decoders, ThreadPoolExecutor(workers) as threads:
        try:
            for start in range(0, len(missing), COMMIT_ITEMS):
                pictures = engine.store.pictures(missing[start : start + COMMIT_ITEMS])
                items = sorted((picture.item for picture in pictures), key=lambda item: item.id)
                futures = [threads.submit(_hash_of, item, decoders, limits.max_bytes) for item in items]
                results = [_result(future) for future in futures]
                found = list(zip(items, results, strict=True))
                with engine.committing() as store:
                    store.set_picture_hashes([(item.id, one) for item, one in found if isinstance(one, bytes)])
                yield from (_outcome(item, one) for item, one in found)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            decoders.stop()


def _result(future: Future[bytes]) -> bytes | InputError:
    try:
        return future.result()
    except InputError as error:  # of this picture only
        return error


def _hash_of(item: Item, decoders: Decoders, max_bytes: int) -> bytes:
    if item.location is None:
        raise UnreadableSource(
            "the location of this picture is unknown, as it came from OSS or from an import: add it again from a file"
        )
    data = FilePicture(item.location).read(max_bytes).data
    if content_hash(data) != item.content_hash:
        raise UnreadableSource("the picture has changed since it was added: add it again")
    picture = decoders.open(data)
    return picture_hash(picture.decode(picture.whole, LOCATOR_SIZE))


def _outcome(item: Item, result: bytes | InputError) -> Outcome:
    key = item.key
    source = str(item.location or f"{key.product_id} {key.pic_name}")
    if isinstance(result, InputError):
        return Outcome(Status.FAILED, source, key.product_id, key.pic_name, error=result)
    return Outcome(Status.REPLACED, source, key.product_id, key.pic_name, item.category_id, item.region)
