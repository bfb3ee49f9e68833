"""The one way of a picture: read, check, decode, find the subject, extract, tell the category. Pictures die here.

Both indexing and searching go through ``Pipeline.extract``; indexing runs several of them side by side in threads, so
that reading and decoding one picture overlaps with the network's work on another.
"""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from threading import Lock, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Final, Self

from imgsearch.service.categories import OTHER, Kind
from imgsearch.types import Content, Extracted, Recalled
from imgsearch.values import PictureOptions, RegionMode
from imgsearch.vision import early_networks
from imgsearch.vision.category import CategoryPredictor, outline
from imgsearch.vision.models import CATEGORISER, CATEGORY_SIZE, EMBEDDER, LOCATOR, LOCATOR_SIZE
from imgsearch.vision.picture_hash import picture_hash
from imgsearch.vision.subject_boxes import with_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from imgsearch.types import PictureSource
    from imgsearch.vision.decoder_pool import Decoders
    from imgsearch.vision.limits import Limits
    from imgsearch.vision.orientation import UprightPicture
    from imgsearch.vision.runtime import Network

__all__ = ["Pipeline", "content_hash"]

HASH_BYTES: Final = 16
LOOK_AHEAD_PER_WORKER: Final = 4
"""Pictures under way per worker; this bounds the memory, whatever the catalogue's size."""

ALWAYS_ISOLATED: Final = re.compile(rb"II|MM|.{4}ftyp", re.DOTALL)
"""How TIFF, HEIC and AVIF begin: of all formats, they have the most code behind them; libtiff prints what it thinks."""


def content_hash(data: bytes) -> bytes:
    """What identifies a picture: BLAKE2b-128 of its bytes."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


class Pipeline:
    """Extracts what is kept of pictures, for one instance.

    Args:
        network: gives the network, compiled at the first call; not called while every picture is known.
        limits: of the instance.
        kind: of the instance.
        workers: how many pictures are extracted at once in ``submit``.
        readers: how many are read at once beside these, for sources that wait for a network; 0: each worker reads the
            picture that it extracts.
        isolated: decode in processes of their own, so that a picture that breaks its decoder costs nothing else; TIFF,
            HEIC and AVIF are decoded so in any case.
    """

    def __init__(
        self,
        network: Callable[[], Network],
        limits: Limits,
        kind: Kind,
        workers: int = 1,
        readers: int = 0,
        *,
        isolated: bool = False,
    ) -> None:
        self._network = network
        self._limits = limits
        self._kind = kind
        self.look_ahead = LOOK_AHEAD_PER_WORKER * workers + readers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="imgsearch")
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="imgsearch-read") if readers else None
        self._isolated = isolated
        self._decoders: Decoders | None = None
        self._making = Lock()
        self._loading: list[Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what has not begun, and what is being decoded elsewhere; wait for the rest."""
        if self._readers is not None:
            self._readers.shutdown(wait=False, cancel_futures=True)
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._making:
            decoders = self._decoders
        if decoders is not None:
            decoders.stop()
        self._threads.shutdown(wait=True)
        for thread in self._loading:
            thread.join()
        if self._readers is not None:
            self._readers.shutdown(wait=True)
        if decoders is not None:
            decoders.close()

    def submit(
        self, picture: PictureSource, options: PictureOptions, is_known: Callable[[bytes], Recalled | bool]
    ) -> Future[Extracted | Recalled | Content]:
        """Read and extract in a worker thread.

        Args:
            picture: where the bytes come from.
            options: CategoryId, Crop, Region.
            is_known: told the content hash, in a worker thread. True, or what is stored of the same bytes, ends the
                work there, as does an error.

        Returns:
            A future of what was extracted; of what is stored, with the new token; or of the bare token (a Content
            without data) for a known picture. It raises what ``extract``, ``PictureSource.read`` and ``is_known``
            raise.
        """
        if self._readers is None:
            return self._threads.submit(self._extract_unknown, partial(self._read, picture), options, is_known)
        # Workers take pictures in their order: while one waits for a slow one, the readers go on with those behind.
        reading = self._readers.submit(self._read, picture)
        return self._threads.submit(self._extract_unknown, reading.result, options, is_known)

    def submit_all(
        self, picture: PictureSource, options: PictureOptions, *, all_subjects: bool
    ) -> Future[tuple[list[Extracted], float]]:
        """Like ``submit``, for a query: the main subject or all of them, and how many seconds that took."""
        return self._threads.submit(self._extract_timed, picture, options, all_subjects)

    def _extract_timed(
        self, picture: PictureSource, options: PictureOptions, all_subjects: bool
    ) -> tuple[list[Extracted], float]:
        begun = perf_counter()
        content = self._read(picture)
        found = self.extract_all(content, options, None if all_subjects else 1)
        return found, perf_counter() - begun

    def _read(self, picture: PictureSource) -> Content:
        return picture.read(self._limits.max_bytes)

    def _extract_unknown(
        self, read: Callable[[], Content], options: PictureOptions, is_known: Callable[[bytes], Recalled | bool]
    ) -> Extracted | Recalled | Content:
        content = read()
        digest = content_hash(content.data)
        known = is_known(digest)
        if isinstance(known, Recalled):
            return Recalled(replace(known.extracted, token=content.token))
        if known:
            return Content(b"", content.token)
        return self._extract(content, digest, options, hashed=True)

    def prepare(self, options: PictureOptions) -> None:
        """Begin to load what pictures with these options need, side by side in threads, while other work goes on.

        A failure is told by the first picture that meets it again.
        """
        if not early_networks.are_begun():
            from imgsearch.vision.openvino_compat import load_openvino

            # Here, where it has the GIL for itself: nothing can be loaded before.
            load_openvino()
        for purpose in self._purposes(options):
            thread = Thread(target=self._load, args=(purpose,), name=f"imgsearch-{purpose}")
            thread.start()
            self._loading.append(thread)

    def _load(self, purpose: str) -> None:
        with suppress(Exception):
            self._network().load(purpose)

    def _purposes(self, options: PictureOptions) -> list[str]:
        """What the networks have to do for a picture, in this order."""
        purposes = [EMBEDDER]
        if self._finds(options) or self._predicts(options):
            purposes.insert(0, LOCATOR)
        if self._predicts(options):
            purposes.append(CATEGORISER)
        return purposes

    def _finds(self, options: PictureOptions) -> bool:
        return options.region_mode is RegionMode.SUBJECT

    def _predicts(self, options: PictureOptions) -> bool:
        return self._kind is Kind.PRODUCT and options.category_id is None

    def extract(self, content: Content, options: PictureOptions) -> Extracted:
        """Turn the bytes of a picture into what is kept of it.

        Raises:
            PictureError, InvalidRegion
        """
        return self._extract(content, content_hash(content.data), options)

    def extract_all(self, content: Content, options: PictureOptions, most: int | None = None) -> list[Extracted]:
        """Like ``extract``, for every subject that is found, or the first ``most``: the main one first.

        The others are as regions given.

        Raises:
            PictureError, InvalidRegion
        """
        return list(islice(self._extract_each(content, content_hash(content.data), options), most))

    def _extract(self, content: Content, digest: bytes, options: PictureOptions, *, hashed: bool = False) -> Extracted:
        return next(self._extract_each(content, digest, options, hashed=hashed))

    def _extract_each(
        self, content: Content, digest: bytes, options: PictureOptions, *, hashed: bool = False
    ) -> Iterator[Extracted]:
        """The main subject, and on demand the further ones; the whole picture is looked at once for all of them.

        Only what is to be stored is hashed: a search has no use for it.
        """
        picture = self._open(content)
        given = picture.given_region(options)
        finds, predicts = self._finds(options), self._predicts(options)
        category = OTHER if self._kind is Kind.GENERIC or options.category_id is None else options.category_id
        network = self._network()
        if finds or predicts or hashed:
            whole = picture.decode(picture.whole, LOCATOR_SIZE)
        if finds or predicts:
            heat, evidence = network.locate(whole)
        subjects = network.subjects(heat, picture.width, picture.height) if finds else ()
        for number, region in enumerate(subjects or (given,)):
            seen = with_context(region, picture.width, picture.height)
            pixels = picture.decode(seen, network.input_size)
            feature, share = network.embed(pixels)
            chances: tuple[tuple[int, float], ...] = ()
            if predicts:
                if network.input_size != CATEGORY_SIZE:
                    pixels = picture.decode(seen, CATEGORY_SIZE)
                total = evidence + network.categorise(pixels) + (0 if share is None else share)
                silhouette = outline(heat, region, picture.width, picture.height)
                chances = tuple(self._predictor.chances(total, silhouette))
            yield Extracted(
                content_hash=digest,
                token=content.token,
                region=region,
                subjects=subjects if number == 0 else (),
                category_id=chances[0][0] if chances else category,
                chances=chances,
                feature=feature,
                picture_hash=picture_hash(whole) if hashed else None,
                warning=picture.warning,
            )

    def _open(self, content: Content) -> UprightPicture:
        data = content.data
        if content.is_pixels:
            from imgsearch.vision.pixels import PixelPicture

            return PixelPicture(data, self._limits)
        if self._isolated or ALWAYS_ISOLATED.match(data):
            return self._own_decoders().open(data)
        from imgsearch.vision.picture import OpenPicture

        return OpenPicture(data, self._limits)

    def _own_decoders(self) -> Decoders:
        with self._making:
            if self._decoders is None:
                from imgsearch.vision.decoder_pool import Decoders

                self._decoders = Decoders(self._limits)
            return self._decoders

    @cached_property
    def _predictor(self) -> CategoryPredictor:
        return CategoryPredictor()
