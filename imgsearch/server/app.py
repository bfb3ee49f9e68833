"""The ASGI application: reads requests within limits, has them answered in threads, and watches itself."""

from __future__ import annotations

import json
import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from imgsearch.server.api import Answer, Request
from imgsearch.server.bodies import announced_bytes, read_body
from imgsearch.server.errors import RequestRefused, status_of
from imgsearch.server.forms import MAX_FORM_BYTES, MAX_UPLOAD_BYTES
from imgsearch.server.loopback import is_loopback
from imgsearch.server.metrics import CONTENT_TYPE, Metrics
from imgsearch.server.openapi import openapi_document
from imgsearch.service.documents import error_document
from imgsearch.service.operations import OPERATIONS, ROA_PATHS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from starlette.requests import Request as HttpRequest
    from starlette.routing import BaseRoute

    from imgsearch.server.api import Api
    from imgsearch.server.result_files import ResultFiles
    from imgsearch.server.served import Instances

__all__ = ["make_app"]

log: Final = logging.getLogger("imgsearch.access")
BODY_SECONDS: Final = 30.0
"""For the whole body of a request."""
DRAINED_BYTES: Final = 64 * 1024 * 1024
"""So much of a body that is too long is read and dropped: clients read no answer before they have sent all."""
READING_THREADS: Final = 32
WRITING_THREADS: Final = 16
"""Requests that are answered at once. Those that write may have to wait for another process, and must not keep searches
waiting, so they have threads of their own."""
MAX_READING: Final = 64
MAX_WRITING: Final = 32
"""Requests under way, whose bodies are in memory."""
RETRY_MS: Final = 1_000
METHODS: Final = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]


def make_app(
    api: Api,
    instances: Instances,
    files: ResultFiles,
    *,
    pages: Iterable[BaseRoute] = (),
    running: Iterable[Callable[[], AbstractAsyncContextManager[None]]] = (),
    watched_by_all: bool = False,
) -> Starlette:
    """The application.

    Args:
        api: answers the vendor's requests.
        instances: in service.
        files: results of tasks.
        pages: other routes; that of ``/`` gets the requests that name no operation.
        running: what those need, entered before the first request.
        watched_by_all: answer ``/metrics`` and its like to every host, not only to this one.
    """
    for_people = list(pages)
    front = next((route for route in for_people if isinstance(route, Route) and route.path == "/"), None)
    server = _Server(api, instances, files, front, watched_by_all=watched_by_all)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for needed in running:
                await stack.enter_async_context(needed())
            yield

    routes = [
        Route("/healthz", server.health),
        Route("/readyz", server.ready),
        Route("/metrics", server.metrics_text),
        Route("/openapi.json", server.openapi),
        Route("/files/{name}", server.file),
        *(route for route in for_people if route is not front),
        Route("/{path:path}", server.api_request, methods=METHODS),
    ]
    handlers = {404: server.not_found, 405: server.not_found, Exception: server.failed}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


@dataclass(slots=True)
class _Lane:
    """Requests of one kind: how many are answered at once, and how many are under way."""

    limiter: CapacityLimiter
    active: int = 0


class _Server:
    """The endpoints."""

    def __init__(
        self, api: Api, instances: Instances, files: ResultFiles, front: Route | None, *, watched_by_all: bool
    ) -> None:
        self._api = api
        self._instances = instances
        self._files = files
        self._front = front
        self._watched_by_all = watched_by_all
        self._reading = _Lane(CapacityLimiter(READING_THREADS))
        self._writing = _Lane(CapacityLimiter(WRITING_THREADS))
        self.metrics = Metrics(instances, api.uploads)

    # The vendor's API

    async def api_request(self, request: HttpRequest) -> Response:
        """Read a request, have it answered in a thread, and tell log and metrics."""
        if self._front is not None and _is_of_a_person(request):
            response: Response = await self._front.endpoint(request)
            return response
        begun = time.perf_counter()
        lane, most = (self._writing, MAX_WRITING) if _is_writing(request) else (self._reading, MAX_READING)
        if lane.active >= most:
            refused = RequestRefused(
                f"{most} requests are under way", code="ServiceUnavailable", status=503, retry_after=RETRY_MS
            )
            return self._sent(_refusal(request, refused), begun, 0)
        lane.active += 1
        self.metrics.active.inc()
        try:
            body = b""
            try:
                body = await _body(request)
                answer = await self._in_thread(lambda: self._api.answer(_request(request, body)), lane)
            except RequestRefused as error:
                answer = _refusal(request, error)
            return self._sent(answer, begun, len(body))
        finally:
            lane.active -= 1
            self.metrics.active.dec()

    def _sent(self, answer: Answer, begun: float, received: int) -> Response:
        seconds = time.perf_counter() - begun
        self.metrics.count(answer, seconds, received)
        log.info(
            "%s %s %d",
            answer.action,
            answer.instance or "-",
            answer.status,
            extra={
                "facts": {
                    "Action": answer.action,
                    "Instance": answer.instance,
                    "KeyId": answer.key_id,
                    "Status": answer.status,
                    "Code": answer.code,
                    "Milliseconds": round(seconds * 1000, 1),
                    "Bytes": received,
                    "RequestId": answer.request_id,
                }
            },
        )
        if isinstance(answer.document, str):
            return Response(answer.document, answer.status, answer.headers, media_type="application/xml")
        return Response(
            json.dumps(answer.document, ensure_ascii=False).encode(), answer.status, answer.headers, "application/json"
        )

    async def _in_thread(self, work: Callable[[], Any], lane: _Lane | None = None) -> Any:
        return await to_thread.run_sync(work, limiter=(lane or self._reading).limiter)

    async def not_found(self, request: HttpRequest, _error: Exception) -> Response:
        """Every answer is a document: clients cannot read others."""
        refused = RequestRefused(
            f"there is nothing at {request.url.path[:80]!r} for {request.method}",
            code="InvalidAction.NotFound",
            status=404,
        )
        return self._sent(_refusal(request, refused), time.perf_counter(), 0)

    async def failed(self, request: HttpRequest, _error: Exception) -> Response:
        """A fault of this module; uvicorn logs its trace."""
        refused = RequestRefused("this is a bug: the server's log has the trace", code="InternalError", status=500)
        return self._sent(_refusal(request, refused), time.perf_counter(), 0)

    # Watching

    async def health(self, _request: HttpRequest) -> Response:
        """The process runs."""
        return JSONResponse({"Status": "ok"})

    async def ready(self, request: HttpRequest) -> Response:
        """All instances can be opened and read."""
        try:
            names = await self._in_thread(self._opened_names)
        except Exception as error:
            message = {"Status": "failed", "Message": str(error)} if self._may_watch(request) else {"Status": "failed"}
            return JSONResponse(message, 503)
        return JSONResponse({"Status": "ok", "Instances": len(names)})

    def _opened_names(self) -> list[str]:
        names = self._instances.names()
        for name in names:
            self._instances.get(name).instance.count()
        return names

    async def metrics_text(self, request: HttpRequest) -> Response:
        """Counters, in Prometheus' format."""
        if not self._may_watch(request):
            return await self.not_found(request, Exception())
        return Response(await self._in_thread(self.metrics.text), media_type=CONTENT_TYPE)

    async def openapi(self, request: HttpRequest) -> Response:
        """The description of the API."""
        return JSONResponse(openapi_document(f"{request.url.scheme}://{request.url.netloc}"))

    async def file(self, request: HttpRequest) -> Response:
        """The result of a task, behind a signed link."""
        query = request.query_params
        try:
            path = self._files.find(request.path_params["name"], query.get("Expires", ""), query.get("Signature", ""))
        except RequestRefused as error:
            return JSONResponse(error_document(error), status_of(error))
        return FileResponse(path, media_type="application/jsonl")

    def _may_watch(self, request: HttpRequest) -> bool:
        return self._watched_by_all or request.client is None or is_loopback(request.client.host)


def _is_writing(request: HttpRequest) -> bool:
    """Whether a request seems to change an instance; what it may is decided when its signature has been checked."""
    named = request.headers.get("x-acs-action") or request.query_params.get("Action", "")
    operation = OPERATIONS.get(ROA_PATHS.get(request.url.path, named))
    return operation is not None and operation.writes


def _is_of_a_person(request: HttpRequest) -> bool:
    """Whether a browser asks for the page; SDKs ask for tickets of uploads at the same address."""
    is_signed = "x-acs-action" in request.headers or "Action" in request.query_params
    return request.method in ("GET", "HEAD") and request.url.path == "/" and not is_signed


def _request(request: HttpRequest, body: bytes) -> Request:
    return Request(
        method=request.method,
        path=request.scope.get("raw_path", request.url.path.encode()).decode("latin-1"),
        query=request.scope["query_string"],
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers.raw},
        body=body,
        secure=request.scope["scheme"] == "https",
    )


def _refusal(request: HttpRequest, error: RequestRefused) -> Answer:
    """The answer to a request that is not read."""
    answer = Answer(error.status, {}, {"connection": "close"})
    answer.refuse(error, request.headers.get("host", ""), error.message)
    return answer


async def _body(request: HttpRequest) -> bytes:
    """The whole body; counted while it is read, as its length may not be told.

    Raises:
        RequestRefused: it is too long, or takes too long.
    """
    is_upload = request.headers.get("content-type", "").startswith("multipart/")
    limit = MAX_UPLOAD_BYTES if is_upload else MAX_FORM_BYTES
    too_long = RequestRefused(f"the body has more than {limit:,} bytes", code="RequestEntityTooLarge", status=413)
    announced = announced_bytes(request)
    if announced > DRAINED_BYTES or (announced > limit and "expect" in request.headers):
        raise too_long
    body, size = await read_body(request, limit, BODY_SECONDS, drained=DRAINED_BYTES)
    if size > limit:
        raise too_long
    return body
