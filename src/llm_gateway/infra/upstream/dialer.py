"""Opens connections to providers: name, address, TLS; and says in words why one did not open."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from aiohappyeyeballs import start_connection

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.address import Site
from llm_gateway.infra.upstream.resolver import Resolver

# How long an address may keep silent before the next one is tried beside it (RFC 8305).
_HAPPY_EYEBALLS = 0.25
# A provider that thinks for long is asked now and then whether it is there: two minutes tell that it is not.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Dialer:
    """Opens connections within a time limit."""

    def __init__(
        self, *, connect_timeout: float, allow_private: bool, ssl_context: ssl.SSLContext | None
    ) -> None:
        """Open nothing yet; `connect_timeout` is in seconds and covers name, address and TLS."""
        self._connect_timeout = connect_timeout
        self._resolver = Resolver(allow_private=allow_private)
        self._ssl_context = ssl_context

    async def dial(
        self, site: Site, factory: Callable[[], P], timeout: float, connect_timeout: float | None = None
    ) -> P:
        """Return a connected protocol; TransportError `connect`, or `timeout` when `timeout` was the shorter.

        `connect_timeout` is in seconds and takes the place of the dialer's own.
        """
        limit = connect_timeout or self._connect_timeout
        try:
            async with asyncio.timeout(min(limit, timeout)):
                return await self._open(site, factory)
        except TimeoutError as error:
            # The kernel's own ETIMEDOUT, not our limit.
            if error.errno is not None:
                raise connect_fault(error) from None
            if timeout < limit:
                raise TransportError("timeout", "the provider did not answer in time") from None
            raise TransportError("connect", "no connection to the provider in time") from None
        except (OSError, RuntimeError, UnicodeError) as error:
            # uvloop has a RuntimeError for a socket that went wrong.
            raise connect_fault(error) from None

    def close(self) -> None:
        """Give up what is being looked up."""
        self._resolver.close()

    async def _open(self, site: Site, factory: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        addresses = await self._resolver.resolve(site.host, site.port)
        sock = await start_connection(addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS, loop=loop)
        try:
            _set_options(sock)
            tls = self._tls() if site.scheme == "https" else None
            _, protocol = await loop.create_connection(
                factory, sock=sock, ssl=tls, server_hostname=site.host if tls else None
            )
        except BaseException:
            # Still ours if the event loop did not take it: uvloop would leak it.
            sock.close()
            raise
        return protocol

    def _tls(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
            self._ssl_context.set_alpn_protocols(["http/1.1"])
        return self._ssl_context


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        # Not every system has each of them.
        if option := getattr(socket, name, None):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def connect_fault(error: BaseException | None) -> TransportError:
    """Say why a connection did not open, without naming anything of it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = "the provider's TLS certificate is not trusted or not for its host"
    elif isinstance(error, ssl.SSLError):
        why = "TLS with the provider failed"
    elif isinstance(error, socket.gaierror | UnicodeError):
        why = "the provider's host name does not resolve"
    elif isinstance(error, ConnectionRefusedError):
        why = "the provider's host refused the connection"
    else:
        why = "no connection to the provider"
    return TransportError("connect", why)
