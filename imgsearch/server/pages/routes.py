"""The routes of the page: ``/`` and what lies below ``/ui/``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
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
    from imgsearch.server.pages.folders import PictureFolders
    from imgsearch.server.served import Instances

__all__ = ["page_routes"]

FILES: Final = StaticFiles(directory=Path(__file__).parent / "static")

Endpoint = Callable[[Request], Awaitable[Response]]
Operation = Callable[[Asked], "dict[str, Any] | Response"]


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
    guard = Middleware(Guard, loopback_only=keys is None)
    below = [
        Route("/static/{name}", _static),
        Route("/api/session", _plain(page, who)),
        Route("/api/login", _plain(page, sign_in), methods=["POST"]),
        Route("/api/logout", _plain(page, sign_out), methods=["POST"]),
        Route("/api/facts", _reading(page, operations.facts, operations.FACTS)),
        Route("/api/search", _with_picture(page, operations.search, operations.SEARCH), methods=["POST"]),
        Route("/api/similar", _reading(page, operations.similar, operations.SIMILAR)),
        Route("/api/items", _reading(page, operations.items, operations.ITEMS)),
        Route("/api/item", _reading(page, operations.item, operations.ITEM)),
        Route("/api/thumbnail", _reading(page, operations.thumbnail, operations.THUMBNAIL, page.decoding)),
        Route("/api/duplicates", _reading(page, operations.duplicates, operations.DUPLICATES)),
        Route("/{rest:path}", _missing),
    ]
    return [
        Route("/", _index, methods=["GET"], middleware=[guard]),
        Mount("/ui", routes=below, middleware=[guard]),
    ]


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


def _with_picture(page: Page, operation: Operation, names: frozenset[str]) -> Endpoint:
    """An endpoint for an operation whose body is a picture file as it is, without a form around it."""

    async def endpoint(request: Request) -> Response:
        asked = None
        try:
            asked = Asked(page, page.key_of(request), Parameters(request.query_params.multi_items(), names))
            served = await run_in_threadpool(lambda: asked.served)
            asked.body = await page.bodies.read(request, served.instance.limits.max_bytes)
            return _response(await run_in_threadpool(operation, asked))
        except Exception as error:
            return page.refused(error, asked)

    return endpoint


def _response(answer: dict[str, Any] | Response) -> Response:
    return answer if isinstance(answer, Response) else JSONResponse(answer)
