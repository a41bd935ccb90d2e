"""Keeps the connections to one site: the idle ones newest first, and none longer than it may be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.address import Site
from llm_gateway.infra.upstream.dialer import Dialer
from llm_gateway.infra.upstream.http11.connection import Connection

# What a server says of how long it keeps an idle connection.
_KEEP_ALIVE = re.compile(rb"\btimeout=(\d{1,6})")
# A request on its way when the server's own time is up would be lost: leave a second.
_MARGIN = 1.0


class Origin:
    """The connections to one site."""

    def __init__(
        self,
        site: Site,
        *,
        dialer: Dialer,
        loop: asyncio.AbstractEventLoop,
        idle_seconds: float,
        max_idle: int,
        on_idle: Callable[[], None],
    ) -> None:
        """Have none yet; `on_idle` is called whenever a connection is kept."""
        self.loop = loop
        self._site = site
        self._dialer = dialer
        self._idle_seconds = idle_seconds
        self._max_idle = max_idle
        self._on_idle = on_idle
        # In the order in which they were given back.
        self._idle: dict[Connection, None] = {}
        self._open: set[Connection] = set()
        self._dialing = 0
        self._closed = False

    @property
    def unused(self) -> bool:
        """Tell whether there is nothing left of it."""
        return not self._open and not self._dialing

    def take(self) -> Connection | None:
        """Return the idle connection that was used last, None when there is none."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.ended:
                continue
            if connection.idle_until > self.loop.time():
                return connection
            connection.abort()
        return None

    async def connect(self, deadline: float, connect_timeout: float | None = None) -> Connection:
        """Open a connection by `deadline` (loop time), within the connect timeout; raise TransportError."""
        if self._closed:
            raise TransportError("connect", "the gateway has closed its connections")
        self._dialing += 1
        try:
            return await self._dialer.dial(
                self._site, lambda: Connection(self.loop, self), deadline - self.loop.time(), connect_timeout
            )
        finally:
            self._dialing -= 1

    def opened(self, connection: Connection) -> None:
        """Count a connection in."""
        self._open.add(connection)
        if self._closed:
            connection.abort()

    def keep(self, connection: Connection) -> bool:
        """Take a connection back for the next request; False when there is no room."""
        if self._closed or len(self._idle) >= self._max_idle:
            return False
        seconds = self._idle_seconds
        told = connection.parser.headers.get(b"keep-alive")
        if told is not None and (found := _KEEP_ALIVE.search(told)):
            seconds = min(seconds, int(found[1]) - _MARGIN)
            if seconds <= 0:
                return False
        connection.idle_until = self.loop.time() + seconds
        self._idle[connection] = None
        self._on_idle()
        return True

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._idle.pop(connection, None)
        self._open.discard(connection)

    def sweep(self) -> bool:
        """Drop what was idle for too long; tell whether any idle connection is left."""
        now = self.loop.time()
        for connection in [each for each in self._idle if each.idle_until <= now]:
            connection.abort()
        return bool(self._idle)

    def close(self) -> None:
        """Drop every connection, and keep none any more."""
        self._closed = True
        for connection in list(self._open):
            connection.abort()
