"""Resolves host names, and rejects private addresses where ALLOW_PRIVATE_UPSTREAMS is false."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

from llm_gateway.flow.ports.upstream import TransportError

# As socket.getaddrinfo gives them: family, type, protocol, canonical name, address.
AddressInfo = tuple[int, int, int, str, Any]
# Seconds that a result is cached, so that a burst of new connections resolves once.
_TTL = 10.0
_MAX_CACHED = 1024


# The only IPv6 addresses that are assigned to public hosts (RFC 4291).
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# IPv6 addresses that embed IPv4 addresses (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Tell whether an IP address is public, also when it is an IPv4 address embedded in IPv6."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
        elif ip not in _GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast


def private_address_error() -> TransportError:
    """Return the error for a provider whose addresses are all private."""
    return TransportError(
        "connect", "the provider's host has no public address, and ALLOW_PRIVATE_UPSTREAMS is false"
    )


class Resolver:
    """Resolves each host once at a time, off the event loop, and caches results for a few seconds."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._cached: dict[tuple[str, int], tuple[float, list[AddressInfo]]] = {}
        self._running: dict[tuple[str, int], asyncio.Task[list[AddressInfo]]] = {}

    async def resolve(self, host: str, port: int) -> list[AddressInfo]:
        """Return at least one address; raise OSError, or TransportError when all are private."""
        found = _literal(host, port) or await self._look_up(host, port)
        if not self._allow_private:
            found = [info for info in found if is_public(info[4][0])]
            if not found:
                raise private_address_error()
        return found

    async def require_public(self, host: str, port: int) -> None:
        """Raise TransportError unless all addresses of a host are public; raise OSError if it has none.

        For a connection that somebody else opens, to whichever of the addresses.
        """
        found = _literal(host, port) or await self._look_up(host, port)
        if not all(is_public(info[4][0]) for info in found):
            raise private_address_error()

    def close(self) -> None:
        """Cancel open lookups."""
        for task in self._running.values():
            task.cancel()

    async def _look_up(self, host: str, port: int) -> list[AddressInfo]:
        key = (host, port)
        now = asyncio.get_running_loop().time()
        expires, found = self._cached.get(key, (now, []))
        if now < expires:
            return found
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.ensure_future(self._ask(host, port))
            task.add_done_callback(lambda done: self._note(key, done))
        # Cancelling one caller must not cancel the lookup for the others.
        return await asyncio.shield(task)

    @staticmethod
    async def _ask(host: str, port: int) -> list[AddressInfo]:
        loop = asyncio.get_running_loop()
        found: list[AddressInfo] = list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        if not found:
            message = "no address"
            raise socket.gaierror(socket.EAI_NONAME, message)
        return found

    def _note(self, key: tuple[str, int], done: asyncio.Task[list[AddressInfo]]) -> None:
        self._running.pop(key, None)
        # Reading the exception marks it as retrieved, in case all callers were cancelled.
        if done.cancelled() or done.exception() is not None:
            return
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        self._cached[key] = (asyncio.get_running_loop().time() + _TTL, done.result())


def _literal(host: str, port: int) -> list[AddressInfo]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return []
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
