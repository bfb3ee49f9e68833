"""The one way of a picture: read, check, decode, find the region and the category, extract. Pictures die here.

Both indexing and searching go through ``Pipeline.extract``; indexing runs several of them side by side in threads, so
that reading and decoding one picture overlaps with the network's work on another.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self

from imgsearch.categories import OTHER, Kind
from imgsearch.records import Content, Extracted, PictureOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from imgsearch.algorithm.limits import Limits
    from imgsearch.algorithm.runtime import Network
    from imgsearch.records import PictureSource

__all__ = ["Pipeline", "content_hash"]

HASH_BYTES: Final = 16


def content_hash(data: bytes) -> bytes:
    """What identifies a picture: BLAKE2b-128 of its bytes."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


class Pipeline:
    """Extracts what is kept of pictures, for one instance.

    Args:
        network: gives the network, compiled at the first call; not called while every picture is known.
        limits: of the instance.
        kind: of the instance.
        workers: how many pictures are under way at once in ``submit``.
    """

    def __init__(self, network: Callable[[], Network], limits: Limits, kind: Kind, workers: int = 1) -> None:
        self._network = network
        self._limits = limits
        self._kind = kind
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="imgsearch")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what has not begun and wait for what has."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def submit(
        self, picture: PictureSource, options: PictureOptions, is_known: Callable[[bytes], bool]
    ) -> Future[Extracted | Content]:
        """Read and extract in a worker thread.

        Args:
            picture: where the bytes come from.
            options: CategoryId, Crop, Region.
            is_known: told the content hash; True ends the work there.

        Returns:
            A future of what was extracted, or of the bare token (a Content without data) for a known picture; it
            raises what ``extract`` and ``PictureSource.read`` raise.
        """
        return self._threads.submit(self._read_and_extract, picture, options, is_known)

    def _read_and_extract(
        self, picture: PictureSource, options: PictureOptions, is_known: Callable[[bytes], bool]
    ) -> Extracted | Content:
        content = picture.read(self._limits.max_bytes)
        digest = content_hash(content.data)
        if is_known(digest):
            return Content(b"", content.token)
        return self._extract(content, digest, options)

    def extract(self, content: Content, options: PictureOptions) -> Extracted:
        """Turn the bytes of a picture into what is kept of it.

        Raises:
            PictureError, InvalidRegion
        """
        return self._extract(content, content_hash(content.data), options)

    def _extract(self, content: Content, digest: bytes, options: PictureOptions) -> Extracted:
        from imgsearch.algorithm.picture import OpenPicture

        picture = OpenPicture(content.data, self._limits)
        region = picture.effective_region(options)
        network = self._network()
        decoded = picture.decode(region, network.input_size)
        return Extracted(
            content_hash=digest,
            token=content.token,
            region=decoded.region,
            subjects=(),
            category_id=self._category(options),
            feature=network.embed(decoded.pixels),
        )

    def _category(self, options: PictureOptions) -> int:
        if self._kind is Kind.GENERIC or options.category_id is None:
            return OTHER
        return options.category_id
