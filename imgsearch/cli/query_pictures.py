"""Pictures to search with: files, folders, standard input, links."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imgsearch.cli.options import STDIN, TIMEOUT_SECONDS
from imgsearch.errors import ImgsearchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from imgsearch.sources.http.link import Link
    from imgsearch.types import Content, PictureSource

__all__ = ["NoPicture", "parsed_links", "query_pictures"]


@dataclass(frozen=True, slots=True)
class NoPicture:
    """Stands for a picture that cannot be read; reading it raises the reason."""

    error: ImgsearchError

    def token(self) -> None:
        """There is no token."""

    def read(self, _max_bytes: int) -> Content:
        """Raise the reason."""
        raise self.error


def parsed_links(urls: list[str]) -> list[Link]:
    """The links of ``--url``.

    Raises:
        InvalidValue
    """
    if not urls:
        return []
    from imgsearch.sources.http.link import Link

    return [Link.parse(url) for url in urls]


def query_pictures(
    images: list[str], links: list[Link], stack: ExitStack, *, allow_private: bool
) -> Iterator[tuple[str, PictureSource]]:
    """Yield each picture with its name.

    Args:
        images: files, folders, or ``-``.
        links: pictures behind links.
        stack: keeps connections open until the caller closes it.
        allow_private: links may lead to addresses that are not public.
    """
    yield from _given(images)
    yield from _behind(links, stack, allow_private=allow_private)


def _given(images: list[str]) -> Iterator[tuple[str, PictureSource]]:
    from imgsearch.sources.files import FilePicture, pictures_under
    from imgsearch.types import Refused

    for image in images:
        if image == STDIN:
            from imgsearch.sources.stdin import StreamPicture

            yield STDIN, StreamPicture(sys.stdin.buffer)
        else:
            for found in pictures_under(Path(image)):
                if isinstance(found, Refused):
                    yield found.source, NoPicture(found.error)
                else:
                    yield str(found), FilePicture(found)


def _behind(links: list[Link], stack: ExitStack, *, allow_private: bool) -> Iterator[tuple[str, PictureSource]]:
    if not links:
        return
    from imgsearch.sources.http.fetcher import Fetcher
    from imgsearch.sources.http.guard import is_any, is_public
    from imgsearch.sources.http.pictures import HttpPicture

    permitted = is_any if allow_private else is_public
    fetcher = stack.enter_context(Fetcher(downloads=len(links), timeout=TIMEOUT_SECONDS, is_permitted=permitted))
    for link in links:
        yield link.text, HttpPicture(fetcher, link)
