"""Opens connections to providers (DNS, TCP, TLS), and describes why one could not be opened."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from aiohappyeyeballs import start_connection

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.address import ServerAddress
from llm_gateway.infra.upstream.certificates import default_tls
from llm_gateway.infra.upstream.resolver import Resolver

# Seconds without an answer from one address before the next one is tried in parallel (RFC 8305).
_HAPPY_EYEBALLS = 0.25
# TCP keep-alive detects within two minutes that a provider has gone while it seems to compute for long.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Dialer:
    """Opens connections within a time limit."""

    def __init__(
        self, *, connect_timeout: float, allow_private: bool, ssl_context: ssl.SSLContext | None
    ) -> None:
        """`connect_timeout` is in seconds and covers DNS, TCP and TLS."""
        self._connect_timeout = connect_timeout
        self._resolver = Resolver(allow_private=allow_private)
        self._ssl_context = ssl_context

    async def dial(
        self,
        server: ServerAddress,
        factory: Callable[[], P],
        timeout: float,
        connect_timeout: float | None = None,
    ) -> P:
        """Return a connected protocol; raise TransportError.

        The error is `timeout` when `timeout` expired and was shorter than the connect timeout, else `connect`.
        `connect_timeout` is in seconds and replaces the dialer's own.
        """
        limit = connect_timeout or self._connect_timeout
        try:
            async with asyncio.timeout(min(limit, timeout)):
                return await self._open(server, factory)
        except TimeoutError as error:
            # The kernel's ETIMEDOUT, not our limit.
            if error.errno is not None:
                raise connect_error(error) from None
            if timeout < limit:
                raise TransportError("timeout", "the provider did not reply in time") from None
            raise TransportError("connect", "could not connect to the provider in time") from None
        except (OSError, RuntimeError, UnicodeError) as error:
            # uvloop raises RuntimeError for a broken socket.
            raise connect_error(error) from None

    def close(self) -> None:
        """Cancel open DNS lookups."""
        self._resolver.close()

    async def _open(self, server: ServerAddress, factory: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        addresses = await self._resolver.resolve(server.host, server.port)
        sock = await start_connection(addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS, loop=loop)
        try:
            _set_options(sock)
            tls = self._tls() if server.scheme == "https" else None
            _, protocol = await loop.create_connection(
                factory, sock=sock, ssl=tls, server_hostname=server.host if tls else None
            )
        except BaseException:
            # If the event loop has not taken the socket over, it would leak under uvloop.
            sock.close()
            raise
        return protocol

    def _tls(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = default_tls()
        return self._ssl_context


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        # Not every platform has all of them.
        if option := getattr(socket, name, None):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def connect_error(error: BaseException | None) -> TransportError:
    """Return the TransportError for a failed connect; its message names no host or address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = "the provider's TLS certificate is not trusted, or does not match its host"
    elif isinstance(error, ssl.SSLError):
        why = "the TLS handshake with the provider failed"
    elif isinstance(error, socket.gaierror | UnicodeError):
        why = "the provider's host name does not resolve"
    elif isinstance(error, ConnectionRefusedError):
        why = "the provider's host refused the connection"
    else:
        why = "could not connect to the provider"
    return TransportError("connect", why)
