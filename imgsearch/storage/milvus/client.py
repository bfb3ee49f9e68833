"""Calls of a Milvus server: connections, time limits, retries, and errors in our own terms."""

from __future__ import annotations

import logging
import os
import time
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar

import tenacity

from imgsearch.errors import RemoteCode, RemoteUnavailable, UsageError
from imgsearch.storage.milvus.address import TOKEN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymilvus import MilvusClient

    from imgsearch.storage.milvus.address import MilvusAddress

__all__ = ["EXTRA", "WRITE_S", "CollectionMissing", "Server", "check_installed"]

EXTRA: Final = "pip install 'imgsearch-local[milvus]'"
"""The command that brings what this package needs."""
CONNECT_S: Final = 5.0
CHANNEL: Final = {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
}
"""A server that is back is noticed soon."""
CALL_S: Final = 15.0
"""For calls that no search waits for."""
WRITE_S: Final = 60.0
"""For those that carry many rows."""
PAUSE_S: Final = 5.0
"""How long a server that has failed is not asked by those who can do without."""
ATTEMPTS: Final = 3
NOT_FOUND: Final = frozenset({100, 4})
"""Codes of a collection that is missing; the second is of servers before 2.3."""
TRANSIENT: Final = frozenset({2, 3, 5, 8, 9, 200, 201, 500, 502, 503, 901, 1100})
RATE_LIMITED: Final = 8
REFUSED: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
LATE: Final = ("DEADLINE_EXCEEDED",)
MAX_REASON: Final = 300
T = TypeVar("T")


class CollectionMissing(Exception):
    """There is no such collection: it has been dropped, or never been made."""


def check_installed() -> None:
    """Raise unless the client is installed, which the base installation leaves out.

    Raises:
        UsageError
    """
    try:
        import pymilvus  # noqa: F401
    except ImportError as error:
        raise UsageError(f"an index in Milvus needs pymilvus ({error}): install it with {EXTRA}") from None


class Server:
    """A Milvus server; connected at the first call.

    Args:
        address: where it is.
    """

    def __init__(self, address: MilvusAddress) -> None:
        self.address = address
        self._lock = Lock()
        self._client: MilvusClient | None = None
        self._failure: tuple[float, str] | None = None
        """When the last call failed, if it did, and why."""

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def call(
        self,
        name: str,
        *arguments: Any,
        timeout: float | None = None,
        repeat: bool = True,
        hasty: bool = False,
        **options: Any,
    ) -> Any:
        """Call a method of pymilvus' client.

        Args:
            name: of the method.
            arguments: of the call.
            timeout: seconds that one attempt may take; None: CALL_S.
            repeat: whether to try again after a failure that may pass: the call changes nothing, or may be repeated.
            hasty: somebody waits who can do without: fail at once where the server was unavailable a moment ago.
            options: of the call.

        Raises:
            CollectionMissing
            RemoteUnavailable: the server cannot be reached, refuses or fails.
            UsageError: pymilvus is not installed.
        """
        check_installed()
        timeout = CALL_S if timeout is None else timeout
        if hasty and self._failure is not None and time.monotonic() - self._failure[0] < PAUSE_S:
            raise RemoteUnavailable(self._failure[1])
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
            stop=tenacity.stop_after_attempt(ATTEMPTS if repeat else 1) | tenacity.stop_after_delay(timeout),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
            reraise=True,
        )

        def attempt() -> Any:
            return getattr(self._connected(), name)(*arguments, **options, timeout=timeout)

        try:
            result = self.guarded(lambda: retrying(attempt))
        except RemoteUnavailable as error:
            self._failure = time.monotonic(), error.message
            raise
        self._failure = None
        return result

    def guarded(self, function: Callable[[], T]) -> T:
        """The result of a function that calls pymilvus; its errors are those of ``call``."""
        from grpc import RpcError
        from pymilvus.exceptions import MilvusException

        try:
            return function()
        except (MilvusException, RpcError) as error:
            raise self._translated(error) from None

    def _connected(self) -> MilvusClient:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> MilvusClient:
        from pymilvus import MilvusClient

        # It logs each failure with a trace, which would be printed where nobody has set up logging.
        quiet = logging.getLogger("pymilvus")
        if not quiet.handlers:
            quiet.addHandler(logging.NullHandler())
        address = self.address
        return MilvusClient(
            uri=address.uri,
            token=os.environ.get(TOKEN_VARIABLE, ""),
            db_name=address.database,
            timeout=CONNECT_S,
            # Clients that share a connection would end it for each other.
            dedicated=True,
            grpc_options=CHANNEL,
            **({"server_pem_path": address.ca} if address.ca else {}),
        )

    def _translated(self, error: Exception) -> Exception:
        code, reason = getattr(error, "code", None), str(getattr(error, "message", "") or error)
        if isinstance(code, int) and code in NOT_FOUND and "collection" in reason.lower():
            return CollectionMissing(reason)
        where = f"the index at {self.address.server}"
        if _is_refusal(error) or "auth" in reason.lower():
            told = "set" if TOKEN_VARIABLE in os.environ else "not set"
            return RemoteUnavailable(
                f"{where} refuses access: check the environment variable {TOKEN_VARIABLE}, which is {told}, and the "
                "rights of its user",
                code=RemoteCode.POLICY_INSUFFICIENT,
            )
        if not _statuses(error).isdisjoint(LATE):
            reason = "it did not answer in time; ?timeout=SECONDS in its address gives searches longer"
        return RemoteUnavailable(f"{where} cannot be used: {_first_line(reason)}")


def _statuses(error: BaseException) -> set[str]:
    """The status codes of gRPC that an error was caused by, as pymilvus tells some reasons in no other way."""
    seen: list[BaseException] = []
    found: set[str] = set()
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        code = getattr(cause, "code", None)
        code = code() if callable(code) else code
        found.add(str(getattr(code, "name", None)))
        cause = cause.__cause__
    return found


def _is_refusal(error: BaseException) -> bool:
    """Whether the server knows the user not, or refuses them."""
    return not _statuses(error).isdisjoint(REFUSED)


def _is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed soon: the server is busy, or was starting. Time-outs are none."""
    if _is_refusal(error):
        return False
    code = getattr(error, "code", None)
    return bool(getattr(error, "retriable", False)) or (isinstance(code, int) and code in TRANSIENT)


def _first_line(reason: str) -> str:
    line = (reason.strip() or "no reason given").splitlines()[0]
    return line if len(line) <= MAX_REASON else f"{line[:MAX_REASON]}…"
