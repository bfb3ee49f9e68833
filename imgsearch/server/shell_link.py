"""What a server is told by the process that takes searches of the shell, and asked by its copies.

Each copy has a socket of its own. Both sides are processes of one program, so what is sent are the records themselves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from imgsearch.errors import InputError
from imgsearch.locations import cache_folder
from imgsearch.values import PictureOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from imgsearch.search.options import SearchOptions, SearchResult
    from imgsearch.types import Content, PictureSource
    from imgsearch.values import Key

__all__ = [
    "LISTENING",
    "MOST_AT_ONCE",
    "NEW",
    "REFUSED",
    "ByName",
    "ByPicture",
    "Find",
    "ReadPicture",
    "RemoteSearcher",
    "is_served",
    "networks",
]

LISTENING: Final = b"L"
"""Searches are taken from now on; the address follows."""
REFUSED: Final = b"R"
"""Searches cannot be taken; the reason follows."""
NEW: Final = b"N"
"""A socket comes along, on which a copy asks."""
MOST_AT_ONCE: Final = 16
"""Copies; further searches go on without the server."""
SECONDS: Final = 4.0
"""Within that, a server that is not stuck tells whether it has an instance."""
SETTINGS: Final = ("IMGSEARCH_PRECISION", "IMGSEARCH_PARAMETERS")
"""What changes the networks' numbers, besides the cache."""


def networks() -> tuple[str, ...]:
    """What decides, in this process, which networks are loaded and in which precision."""
    return (os.path.realpath(cache_folder()), *(os.environ.get(name, "") for name in SETTINGS))


@dataclass(frozen=True, slots=True)
class Find:
    """Whether an instance can be searched; answered by True or False."""

    folder: str
    """Its real path."""
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadPicture:
    """A picture that has been read, or why it could not be."""

    content: Content | InputError

    def token(self) -> None:
        """It is not to be stored."""

    def read(self, _max_bytes: int) -> Content:
        """Return the content; raises the reason why there is none."""
        if isinstance(self.content, InputError):
            raise self.content
        return self.content


@dataclass(frozen=True, slots=True)
class ByPicture:
    """A search with a picture; answered like ``Searcher.by_pictures`` with it alone, or by the error raised."""

    folder: str
    created: int
    """When the instance was created: another one may lie in its folder now."""
    picture: ReadPicture
    options: PictureOptions
    search: SearchOptions
    all_subjects: bool


@dataclass(frozen=True, slots=True)
class ByName:
    """A search with an indexed picture; answered like ``Searcher.by_name``, or by the error raised."""

    folder: str
    created: int
    key: Key
    category_id: int | None
    search: SearchOptions


def is_served(server: Connection, folder: Path) -> bool:
    """Whether a server has an instance and loads the same networks as this process; False if it does not answer."""
    try:
        server.send(Find(os.path.realpath(folder), networks()))
        return server.poll(SECONDS) and server.recv() is True
    except (EOFError, OSError):
        return False


class RemoteSearcher:
    """Answers single queries like a ``Searcher``, which a server has.

    Args:
        server: that is asked.
        folder: of the instance.
        created: when the instance was created.
        max_bytes: limit of a picture's size.
        lost: called if the server has ended, or no longer has that instance; does not return.
    """

    def __init__(self, server: Connection, folder: Path, created: int, max_bytes: int, lost: Callable[[], Any]) -> None:
        self._server = server
        self._instance = os.path.realpath(folder), created
        self._max_bytes = max_bytes
        self._lost = lost

    def prepare(self, _options: PictureOptions = PictureOptions()) -> None:
        """The server has its networks at hand."""

    def by_pictures(
        self, pictures: Iterable[PictureSource], options: PictureOptions, search: SearchOptions, *, all_subjects: bool
    ) -> Iterator[list[SearchResult] | InputError]:
        """Like ``Searcher.by_pictures``, one after the other; pictures are read here."""
        for picture in pictures:
            content: Content | InputError
            try:
                content = picture.read(self._max_bytes)
            except InputError as error:
                content = error
            yield self._answer(ByPicture(*self._instance, ReadPicture(content), options, search, all_subjects))

    def by_name(self, key: Key, category_id: int | None, search: SearchOptions) -> SearchResult:
        """Like ``Searcher.by_name``."""
        found: SearchResult = self._answer(ByName(*self._instance, key, category_id, search))
        return found

    def _answer(self, request: ByPicture | ByName) -> Any:
        try:
            self._server.send(request)
            has_answer, answer = self._server.recv()
        except (EOFError, OSError):
            self._lost()
            raise
        if not has_answer:
            raise answer
        return answer
