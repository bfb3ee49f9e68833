"""Connections to public addresses only: a manifest must not reach what only this machine can reach.

The address that is connected to is checked, not the name: names are resolved once, here, and the connection goes to the
very address that was checked. So a name that changes its address in between (DNS rebinding), a redirect, or an address
in an unusual spelling gains nothing. Certificates are verified against the host's name all the same.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from contextlib import contextmanager
from threading import Timer, local
from typing import TYPE_CHECKING, Any, Final

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from imgsearch.sources.bodies import SILENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Forbidden", "is_any", "is_public", "limited_to", "pool_manager"]

NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
IPV4_BITS: Final = 2**32 - 1
HOSTS: Final = 64
"""Hosts whose connections are kept."""

_thread: Final = local()


class Forbidden(Exception):
    """A host has no address that may be connected to; ``args``: its name, and one of its addresses."""


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet; also looks at an IPv4 address within one of IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is None and found in NAT64:
            inner = ipaddress.IPv4Address(int(found) & IPV4_BITS)
        if inner is not None:
            return is_public(str(inner))
        if found.is_site_local:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def is_any(_address: str) -> bool:
    """Permits every address."""
    return True


def _connected(host: str, port: int, timeout: Any, options: Any, is_permitted: Callable[[str], bool]) -> socket.socket:
    """Resolve a name once, and connect to the first of its permitted addresses that answers.

    Raises:
        Forbidden: none of them is permitted.
        OSError
    """
    error: OSError | None = None
    addresses = socket.getaddrinfo(host.strip("[]"), port, socket.AF_UNSPEC, socket.SOCK_STREAM)
    permitted = [entry for entry in addresses if is_permitted(str(entry[4][0]))]
    if addresses and not permitted:
        raise Forbidden(host, str(addresses[0][4][0]))
    for family, kind, protocol, _, address in permitted:
        opened = socket.socket(family, kind, protocol)
        try:
            for option in options or ():
                opened.setsockopt(*option)
            if isinstance(timeout, int | float):
                opened.settimeout(timeout)
            opened.connect(address)
        except OSError as failure:
            error = failure
            opened.close()
        else:
            return opened
    raise error or OSError("the name has no address")


@contextmanager
def limited_to(seconds: float) -> Iterator[None]:
    """Within the block, this thread's connections are shut down so many seconds from now while they wait for headers.

    A time limit of a socket is only for a single packet, and headers can trickle.
    """
    _thread.seconds = seconds
    try:
        yield
    finally:
        del _thread.seconds


class _Guarded(HTTPConnection):
    """A connection to a permitted address, which waits for its handshake and headers for a limited time."""

    is_permitted: Callable[[str], bool] = staticmethod(is_public)
    _other_end: socket.socket | None = None
    """The same connection once more, to shut it down from another thread, whatever TLS makes of the first."""

    def _new_conn(self) -> socket.socket:
        try:
            opened = _connected(self._dns_host, self.port, self.timeout, self.socket_options, self.is_permitted)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError as error:  # a label that is too long
            raise NewConnectionError(self, "the host's name is invalid") from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"no connection in {self.timeout} s") from error
        except OSError as error:
            raise NewConnectionError(self, str(error.strerror)) from error
        self._close_other_end()
        self._other_end = opened.dup()
        return opened

    def connect(self) -> None:
        with self._limited():
            super().connect()

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        with self._limited():
            return super().getresponse()

    def close(self) -> None:
        super().close()
        self._close_other_end()

    def _close_other_end(self) -> None:
        if self._other_end is not None:
            self._other_end.close()
            self._other_end = None

    @contextmanager
    def _limited(self) -> Iterator[None]:
        timer = Timer(getattr(_thread, "seconds", SILENCE_SECONDS), self._shut_down)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _shut_down(self) -> None:
        other_end = self._other_end
        if other_end is not None:
            try:
                other_end.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended by itself
                return


class _GuardedTls(_Guarded, HTTPSConnection):
    """The same with TLS."""


def pool_manager(is_permitted: Callable[[str], bool], per_host: int) -> urllib3.PoolManager:
    """Connections that are kept and used again.

    Args:
        is_permitted: whether an IP address may be connected to.
        per_host: how many are kept for each host.
    """
    permissions = {"is_permitted": staticmethod(is_permitted)}
    plain, tls = type("Plain", (_Guarded,), permissions), type("Tls", (_GuardedTls,), permissions)
    manager = urllib3.PoolManager(num_pools=HOSTS, maxsize=per_host, ssl_context=ssl.create_default_context())
    manager.pool_classes_by_scheme = {
        "http": type("GuardedPool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("GuardedTlsPool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }
    return manager
