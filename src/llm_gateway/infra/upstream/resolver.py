"""Finds the addresses behind a host name, and keeps providers off private ones where that is asked for."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

from llm_gateway.flow.ports.upstream import TransportError

# As socket.getaddrinfo gives them: family, type, protocol, canonical name, address.
AddressInfo = tuple[int, int, int, str, Any]
# Seconds that an answer is used again: a burst of new connections asks once.
_KEPT = 10.0
_MAX_KEPT = 1024


# IPv6 around IPv4: through the internet's translators, and through a network's own.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_OWN_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")


def is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the internet at large, also behind IPv6's wrappings of IPv4."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _OWN_NAT64:
            return False
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            ip = inner
    return ip.is_global and not ip.is_multicast


def private_fault() -> TransportError:
    """Return what is raised for an address that providers may not have."""
    return TransportError(
        "connect", "the provider's host has no public address, and ALLOW_PRIVATE_UPSTREAMS is off"
    )


class Resolver:
    """Looks hosts up off the event loop, each once at a time, and remembers for a few seconds."""

    def __init__(self, *, allow_private: bool) -> None:
        """Know nothing yet."""
        self._allow_private = allow_private
        self._kept: dict[tuple[str, int], tuple[float, list[AddressInfo]]] = {}
        self._running: dict[tuple[str, int], asyncio.Task[list[AddressInfo]]] = {}

    async def resolve(self, host: str, port: int) -> list[AddressInfo]:
        """Return at least one address to connect to; raise OSError, or TransportError when all are private."""
        found = _literal(host, port) or await self._look_up(host, port)
        if not self._allow_private:
            found = [info for info in found if is_public(info[4][0])]
            if not found:
                raise private_fault()
        return found

    def close(self) -> None:
        """Give up what is being looked up."""
        for task in self._running.values():
            task.cancel()

    async def _look_up(self, host: str, port: int) -> list[AddressInfo]:
        key = (host, port)
        now = asyncio.get_running_loop().time()
        expires, found = self._kept.get(key, (now, []))
        if now < expires:
            return found
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.ensure_future(self._ask(host, port))
            task.add_done_callback(lambda done: self._note(key, done))
        # One caller's cancellation is not the others'.
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
        # Asking for the exception marks it as seen, should every caller have gone.
        if done.cancelled() or done.exception() is not None:
            return
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        self._kept[key] = (asyncio.get_running_loop().time() + _KEPT, done.result())


def _literal(host: str, port: int) -> list[AddressInfo]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return []
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
