"""Signing in and out, and who is signed in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from imgsearch.server.errors import RequestRefused
from imgsearch.server.keys import ANYBODY
from imgsearch.server.served import Permitted

if TYPE_CHECKING:
    from starlette.requests import Request

    from imgsearch.server.keys import AccessKey
    from imgsearch.server.pages.page import Page

__all__ = ["sign_in", "sign_out", "who"]

MAX_LOGIN_BYTES: Final = 8 * 1024


async def who(page: Page, request: Request) -> JSONResponse:
    """Who is signed in, and the names of the instances for them."""
    key = ANYBODY if page.sessions is None else page.sessions.key_of(request)
    return JSONResponse(await run_in_threadpool(_told, page, key))


async def sign_in(page: Page, request: Request) -> JSONResponse:
    """Begin a session with ``{"KeyId": …, "Secret": …}``.

    Raises:
        RequestRefused: malformed, wrong, or too many attempts.
    """
    if page.keys is None or page.sessions is None:
        raise RequestRefused("this server has no keys, so nobody needs to sign in", code="BadRequest")
    body = await page.bodies.read(request, MAX_LOGIN_BYTES)
    try:
        document = json.loads(body)
        key_id, secret = document["KeyId"], document["Secret"]
        if not isinstance(key_id, str) or not isinstance(secret, str):
            raise TypeError
        secret.encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        raise RequestRefused('expected a JSON document {"KeyId": …, "Secret": …}', code="BadRequest") from None
    address = "" if request.client is None else request.client.host
    page.attempts.begin(address, key_id)
    key = page.keys.login(key_id, secret)
    if key is None:
        raise RequestRefused("the key id or the secret is wrong", code="LoginFailed", status=401)
    page.attempts.forget(address, key_id)
    response = JSONResponse(await run_in_threadpool(_told, page, key))
    page.sessions.begin(response, key)
    return response


async def sign_out(page: Page, request: Request) -> JSONResponse:
    """End the session."""
    response = JSONResponse(_told(page, None))
    if page.sessions is not None:
        page.sessions.end(request, response)
    return response


def _told(page: Page, key: AccessKey | None) -> dict[str, Any]:
    names = [] if key is None else Permitted(page.instances, key).names()
    return {
        "Success": True,
        "LoginNeeded": key is None,
        "KeyId": None if key is None or key is ANYBODY else key.id,
        "Instances": names,
    }
