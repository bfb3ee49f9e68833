"""Addresses and names that only lead to this machine itself."""

from __future__ import annotations

import ipaddress

__all__ = ["host_name", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether a host (a name or an address, without a port) is this machine itself, whatever a name server says."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(authority: str) -> str:
    """The host in ``host:port``, as a ``Host`` header has it; without the brackets of an IPv6 address."""
    if authority.startswith("["):
        return authority.rpartition("]")[0].removeprefix("[")
    return authority.partition(":")[0]
