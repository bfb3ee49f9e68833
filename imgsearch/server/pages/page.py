"""What all requests to the page share, and what one request may see of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from anyio import CapacityLimiter

from imgsearch.errors import ImgsearchError, InstanceUnusable, StorageError
from imgsearch.server.errors import RequestRefused
from imgsearch.server.keys import ANYBODY
from imgsearch.server.pages.bodies import Bodies
from imgsearch.server.pages.guard import refusal
from imgsearch.server.pages.sessions import Attempts, Sessions
from imgsearch.server.pages.thumbnails import Thumbnails
from imgsearch.server.served import Permitted

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from imgsearch.server.keys import AccessKey, KeyRing
    from imgsearch.server.pages.parameters import Parameters
    from imgsearch.server.served import Instances, Served
    from imgsearch.sources.picture_folders import PictureFolders
    from imgsearch.types import Item

__all__ = ["Asked", "Page"]

LOG: Final = logging.getLogger(__name__)
MAX_DECODING: Final = 4


class Page:
    """State of the page.

    Args:
        instances: in service.
        keys: with which people sign in; None: everybody is let in.
        folders: from which pictures are shown.
        secure: the server speaks TLS.
    """

    def __init__(self, instances: Instances, keys: KeyRing | None, folders: PictureFolders, *, secure: bool) -> None:
        self.instances = instances
        self.keys = keys
        self.folders = folders
        self.sessions = None if keys is None else Sessions(keys, secure=secure)
        self.attempts = Attempts()
        self.thumbnails = Thumbnails(folders)
        self.bodies = Bodies()
        self.decoding = CapacityLimiter(MAX_DECODING)
        """Held while a thumbnail is made, so that a page full of them leaves threads to searches."""
        self.comparing = Lock()
        """Held while duplicates are searched for: one such search fills the cores."""

    def key_of(self, request: Request) -> AccessKey:
        """Who asks.

        Raises:
            RequestRefused: nobody who has signed in.
        """
        if self.sessions is None:
            return ANYBODY
        key = self.sessions.key_of(request)
        if key is None:
            raise RequestRefused("sign in first", code="LoginRequired", status=401)
        return key

    def refused(self, error: Exception, asked: Asked | None = None) -> Response:
        """The answer to a request that an error ends; paths of this machine are told to its own user only."""
        if not isinstance(error, ImgsearchError):
            LOG.error("a request to the page has failed", exc_info=error)
            return refusal(RequestRefused("something has gone wrong in the server", code="InternalError", status=500))
        if self.keys is None:
            return refusal(error)
        if isinstance(error, InstanceUnusable | StorageError):
            LOG.error("%s: %s", error.code, error.message)
            return refusal(error, "the instance cannot be used at present: the server's log says why")
        return refusal(error, error.message if asked is None else asked.without_folder(error.message))


@dataclass
class Asked:
    """One request, by somebody who may ask."""

    page: Page
    key: AccessKey
    parameters: Parameters
    body: bytes = b""
    _served: Served | None = None

    @property
    def served(self) -> Served:
        """The instance that the request names; opened if need be, so not for the event loop.

        Raises:
            InstanceNotFound: there is none of that name, or not for this key.
            RequestRefused: no name.
            InstanceDamaged, NewerFormat
        """
        if self._served is None:
            self._served = Permitted(self.page.instances, self.key).get(self.parameters.needed("instance"))
        return self._served

    def without_folder(self, message: str) -> str:
        """A message with the instance's name in place of its folder."""
        if self._served is None:
            return message
        return self._served.without_folders(message, quoted=True)

    def shown(self, document: dict[str, Any], item: Item) -> dict[str, Any]:
        """A document of an item as the page gets it.

        It tells whether the picture can be shown; where its file lies, only to those at the same machine.
        """
        told = {name: value for name, value in document.items() if name not in ("File", "Path")}
        if self.page.keys is None:
            told["Path"] = None if item.location is None else str(item.location)
        return {**told, "Region": str(item.region), "Picture": self.page.folders.has(item.location)}
