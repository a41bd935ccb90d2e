"""Carries requests to providers over HTTP/1.1 connections of our own: the cheap way for the data path."""

from __future__ import annotations

import asyncio
import ssl

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.address import Site, Target, Unfit, parse_url
from llm_gateway.infra.upstream.dialer import Dialer
from llm_gateway.infra.upstream.http11.connection import Connection
from llm_gateway.infra.upstream.http11.messages import encode_head
from llm_gateway.infra.upstream.http11.origin import Origin
from llm_gateway.infra.upstream.http11.reply import PooledReply
from llm_gateway.providers.base import UpstreamRequest

_MAX_ROUTES = 4096
_SWEEP = 5.0
_CLOSING_ROUNDS = 100


class PooledUpstream:
    """The `Upstream` port over keep-alive connections, as many as are asked for.

    A request costs the same however many connections are open. It speaks to no proxy: see `by_proxy`.
    """

    def __init__(
        self,
        *,
        connect_timeout: float,
        allow_private: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        idle_seconds: float = 30.0,
        max_idle: int = 1000,
    ) -> None:
        """Open nothing yet; times are in seconds, `max_idle` is for one scheme, host and port."""
        self._dialer = Dialer(
            connect_timeout=connect_timeout, allow_private=allow_private, ssl_context=ssl_context
        )
        self._idle_seconds = idle_seconds
        self._max_idle = max_idle
        self._routes: dict[str, tuple[Target, Origin]] = {}
        self._origins: dict[Site, Origin] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def send(self, request: UpstreamRequest, timeout: float) -> PooledReply:
        """Send and wait for the reply's head.

        When a kept-alive connection turns out to be dead before any byte of the reply came, the request is
        sent once more on a fresh one: that is the connection's fault, not an attempt of its own.
        """
        try:
            target, origin = self._routes.get(request.url) or self._route(request.url)
            head = encode_head(request, target)
        except Unfit as unfit:
            raise TransportError("protocol", str(unfit)) from None
        deadline = origin.loop.time() + timeout
        connection = origin.take()
        reused = connection is not None
        while True:
            if connection is None:
                connection = await origin.connect(deadline, request.connect_timeout)
            try:
                if await _head_came(connection, head, request.body, deadline):
                    return PooledReply(connection, origin.loop)
            except BaseException:
                connection.abort()
                raise
            connection.abort()
            if not reused or connection.touched:
                raise _no_head(connection)
            connection, reused = None, False

    async def close(self) -> None:
        """Drop every connection, for good."""
        self._dialer.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for origin in self._origins.values():
            origin.close()
        # The event loop closes the sockets in its next rounds.
        for _ in range(_CLOSING_ROUNDS):
            if all(origin.unused for origin in self._origins.values()):
                break
            await asyncio.sleep(0)

    def _route(self, url: str) -> tuple[Target, Origin]:
        target = parse_url(url)
        origin = self._origins.get(target.site)
        if origin is None:
            origin = self._origins[target.site] = Origin(
                target.site,
                dialer=self._dialer,
                loop=asyncio.get_running_loop(),
                idle_seconds=self._idle_seconds,
                max_idle=self._max_idle,
                on_idle=self._sweep_later,
            )
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        self._routes[url] = target, origin
        return target, origin

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(
                min(_SWEEP, self._idle_seconds), self._sweep
            )

    def _sweep(self) -> None:
        self._sweeper = None
        idle = [origin.sweep() for origin in self._origins.values()]
        if any(idle):
            self._sweep_later()
        unused = [site for site, origin in self._origins.items() if origin.unused]
        if unused:
            self._routes.clear()
            for site in unused:
                del self._origins[site]


async def _head_came(connection: Connection, head: bytes, body: bytes, deadline: float) -> bool:
    """Send, and return True when the reply's head is here, False when the connection ended before it."""
    connection.begin(head, body)
    parser = connection.parser
    on_time = connection.sent or await connection.upload(body, deadline)
    while on_time:
        if parser.status:
            return True
        if connection.fault is not None:
            return False
        on_time = await connection.wait(deadline)
    raise TransportError("timeout", "the provider did not answer in time")


def _no_head(connection: Connection) -> TransportError:
    fault = connection.fault
    if fault is not None and fault.kind == "protocol":
        return fault
    return TransportError("cut", "the provider closed the connection before it answered")
