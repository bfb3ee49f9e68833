"""The tools over HTTP, mounted into a server: each access key has the instances and rights that its file says."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.routing import Route

from imgsearch.agents.context import Context
from imgsearch.agents.server import http_app, make_server
from imgsearch.server.keys import ANYBODY
from imgsearch.server.served import Permitted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette
    from starlette.routing import BaseRoute
    from starlette.types import Receive, Scope, Send

    from imgsearch.server.keys import AccessKey, KeyRing
    from imgsearch.server.served import Instances
    from imgsearch.sources.picture_folders import PictureFolders

__all__ = ["PATH", "AgentsOverHttp"]

PATH: Final = "/mcp"
MAX_BODY_BYTES: Final = 24 * 1024 * 1024
"""Two pictures in base64, and the rest of a call."""
BEARER: Final = "bearer "


class AgentsOverHttp:
    """An ASGI application. A client proves its key by ``Authorization: Bearer ID:SECRET``.

    Keys that are added while the server runs may ask after its next start; removed and changed ones are refused at
    once.

    Args:
        instances: in service.
        keys: None: everybody on this machine may ask, and may write.
        folders: whose pictures may be read.
        thumbnails: answers have small pictures, of files in the folders.
    """

    def __init__(
        self, instances: Instances, keys: KeyRing | None, folders: PictureFolders, *, thumbnails: bool
    ) -> None:
        self._keys = keys
        self._apps = {
            key.id: _app(instances, key, folders, thumbnails=thumbnails, is_local=keys is None)
            for key in ([ANYBODY] if keys is None else keys.all())
        }

    def routes(self) -> list[BaseRoute]:
        """Where it is mounted."""
        return [Route(PATH, self)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Must be entered before the first request."""
        async with AsyncExitStack() as stack:
            for app in self._apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        key = self._key_of(Headers(scope=scope).get("authorization", ""))
        app = None if key is None else self._apps.get(key.id)
        if app is None:
            refused = JSONResponse(
                {"Code": "InvalidAccessKeyId.NotFound", "Message": "give a key as 'Authorization: Bearer ID:SECRET'"},
                401,
                {"WWW-Authenticate": "Bearer"},
            )
            await refused(scope, receive, send)
            return
        await app(scope, receive, send)

    def _key_of(self, authorization: str) -> AccessKey | None:
        if self._keys is None:
            return ANYBODY
        if not authorization.lower().startswith(BEARER):
            return None
        key_id, _, secret = authorization[len(BEARER) :].strip().partition(":")
        return self._keys.login(key_id, secret)


def _app(
    instances: Instances, key: AccessKey, folders: PictureFolders, *, thumbnails: bool, is_local: bool
) -> Starlette:
    context = Context(
        Permitted(instances, key), folders, may_write=key.may_write, shows_pictures=thumbnails and bool(folders.folders)
    )
    options: dict[str, Any] = {"max_request_body_size": MAX_BODY_BYTES}
    if not is_local:  # who has a key is no page that rebinds its name
        options["transport_security"] = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return http_app(make_server(context), PATH, **options)
