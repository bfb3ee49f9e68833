"""Errors of requests, and the HTTP status of every error."""

from __future__ import annotations

from typing import Final

from imgsearch.errors import (
    ImgsearchError,
    InputError,
    InstanceLocked,
    InstanceUnusable,
    MemoryRefused,
    NotFound,
    RemoteError,
    RemoteUnavailable,
    StorageError,
    UsageError,
)

__all__ = ["RequestRefused", "retry_after", "status_of"]

BUSY_MS: Final = 1_000
"""After how long a client should ask again while another process writes."""

_STATUS: Final[dict[type[ImgsearchError], int]] = {
    InputError: 400,
    UsageError: 400,
    NotFound: 400,
    InstanceLocked: 409,
    RemoteUnavailable: 503,
    RemoteError: 400,
    InstanceUnusable: 500,
    MemoryRefused: 503,
    StorageError: 500,
}
"""As the service answers (server.md, section 3): what is not there is a bad request, too."""


class RequestRefused(ImgsearchError):
    """A request that cannot be answered: malformed, not signed, not allowed, or too many.

    Args:
        message: for people.
        code: the service's error code.
        status: of HTTP.
        retry_after: milliseconds after which the same request may succeed; None: never.
    """

    exit_code = 3

    def __init__(self, message: str, *, code: str, status: int = 400, retry_after: int | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.retry_after = retry_after


def status_of(error: ImgsearchError) -> int:
    """The HTTP status for an error."""
    if isinstance(error, RequestRefused):
        return error.status
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def retry_after(error: ImgsearchError) -> int | None:
    """Milliseconds for the header ``x-acs-retry-after``; None without one."""
    if isinstance(error, RequestRefused):
        return error.retry_after
    return BUSY_MS if isinstance(error, InstanceLocked) else None
