"""The routes of the page: ``/`` and what lies below ``/ui/``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from imgsearch.server.errors import RequestRefused
from imgsearch.server.pages import operations
from imgsearch.server.pages.guard import Guard, refusal
from imgsearch.server.pages.login import sign_in, sign_out, who
from imgsearch.server.pages.page import Asked, Page
from imgsearch.server.pages.parameters import Parameters

if TYPE_CHECKING:
    from anyio import CapacityLimiter

    from imgsearch.server.keys import KeyRing
    from imgsearch.server.served import Instances
    from imgsearch.sources.picture_folders import PictureFolders

__all__ = ["page_routes"]

FILES: Final = StaticFiles(directory=Path(__file__).parent / "static")

Endpoint = Callable[[Request], Awaitable[Response]]
Operation = Callable[[Asked], "dict[str, Any] | Response"]

READING: Final[dict[str, tuple[Operation, frozenset[str]]]] = {
    "facts": (operations.facts, operations.FACTS),
    "similar": (operations.similar, operations.SIMILAR),
    "items": (operations.items, operations.ITEMS),
    "item": (operations.item, operations.ITEM),
    "duplicates": (operations.duplicates, operations.DUPLICATES),
}
"""What only reads, and the parameters that each has."""


def page_routes(
    instances: Instances, keys: KeyRing | None, folders: PictureFolders, *, secure: bool
) -> list[BaseRoute]:
    """What a server adds for people: ``GET /``, and files and JSON below ``/ui/``.

    Args:
        instances: in service.
        keys: with which people sign in; None: everybody is let in, under loopback names of this host only.
        folders: below which pictures of items may be shown.
        secure: the server speaks TLS, so cookies are for TLS only.
    """
    page = Page(instances, keys, folders, secure=secure)
    around = Guard(loopback_only=keys is None).around
    below = [
        Route("/static/{name}", around(_static)),
        Route("/api/session", around(_plain(page, who))),
        Route("/api/login", around(_plain(page, sign_in)), methods=["POST"]),
        Route("/api/logout", around(_plain(page, sign_out)), methods=["POST"]),
        Route("/api/search", around(_searching(page)), methods=["POST"]),
        Route("/api/thumbnail", around(_reading(page, operations.thumbnail, operations.THUMBNAIL, page.decoding))),
        *(Route(f"/api/{name}", around(_reading(page, *operation))) for name, operation in READING.items()),
        Route("/{rest:path}", around(_missing)),
    ]
    # Whatever else is mounted around it may call the endpoint of / itself, so the guard is not a middleware.
    return [Route("/", around(_index), methods=["GET"]), Mount("/ui", routes=below)]


async def _index(request: Request) -> Response:
    return await _file("index.html", request)


async def _static(request: Request) -> Response:
    return await _file(request.path_params["name"], request)


async def _file(name: str, request: Request) -> Response:
    try:
        response = await FILES.get_response(name, request.scope)
    except HTTPException:  # whatever the name is like
        return await _missing(request)
    response.headers["Cache-Control"] = "no-cache"  # ask whether it is still the same: a new release shows at once
    return response


async def _missing(_request: Request) -> Response:
    return refusal(RequestRefused("there is nothing at this address", code="NotFound", status=404))


def _plain(page: Page, answer: Callable[[Page, Request], Awaitable[Response]]) -> Endpoint:
    """An endpoint that needs no session."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(page, request)
        except Exception as error:
            return page.refused(error)

    return endpoint


def _reading(
    page: Page, operation: Operation, names: frozenset[str], limiter: CapacityLimiter | None = None
) -> Endpoint:
    """An endpoint for an operation without a body, of which a limiter says how many run at once."""

    async def endpoint(request: Request) -> Response:
        asked = None
        try:
            asked = Asked(page, page.key_of(request), Parameters(request.query_params.multi_items(), names))
            async with limiter or nullcontext():
                return _response(await run_in_threadpool(operation, asked))
        except Exception as error:
            return page.refused(error, asked)

    return endpoint


def _searching(page: Page) -> Endpoint:
    """The endpoint of the search whose body is a picture file as it is, without a form around it."""

    async def endpoint(request: Request) -> Response:
        asked = None
        try:
            asked = Asked(page, page.key_of(request), Parameters(request.query_params.multi_items(), operations.SEARCH))
            served = await run_in_threadpool(lambda: asked.served)
            asked.body = await page.bodies.read(request, served.instance.limits.max_bytes)
            return _response(await run_in_threadpool(operations.search, asked))
        except Exception as error:
            return page.refused(error, asked)

    return endpoint


def _response(answer: dict[str, Any] | Response) -> Response:
    return answer if isinstance(answer, Response) else JSONResponse(answer)
