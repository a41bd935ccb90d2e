"""The connections to one origin: idle ones are reused newest first, and closed when they were idle too long."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.address import ServerAddress
from llm_gateway.infra.upstream.dialer import Dialer
from llm_gateway.infra.upstream.http11.connection import Connection
from llm_gateway.sockets.write_batch import WriteBatch

# How long the server keeps an idle connection, as its Keep-Alive header states it.
_KEEP_ALIVE = re.compile(rb"\btimeout=(\d{1,6})")
# Seconds before the server's own timeout: a request sent when it expires would be lost.
_SAFETY_MARGIN = 1.0


class Origin:
    """The connections to one scheme, host and port."""

    def __init__(
        self,
        server: ServerAddress,
        *,
        dialer: Dialer,
        loop: asyncio.AbstractEventLoop,
        idle_seconds: float,
        max_idle: int,
        on_idle: Callable[[], None],
        batch: WriteBatch | None = None,
    ) -> None:
        """`on_idle` is called whenever the first connection becomes idle; requests are sent in `batch`."""
        self.loop = loop
        self.batch = batch
        self._site = server
        self._dialer = dialer
        self._idle_seconds = idle_seconds
        self._max_idle = max_idle
        self._on_idle = on_idle
        # In the order in which they became idle.
        self._idle: dict[Connection, None] = {}
        self._open: set[Connection] = set()
        self._dialing = 0
        self._closed = False

    @property
    def unused(self) -> bool:
        """Whether no connection is open or being opened."""
        return not self._open and not self._dialing

    @property
    def busy(self) -> int:
        """How many connections serve a request, or are being opened."""
        return len(self._open) - len(self._idle) + self._dialing

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._idle)

    def take(self) -> Connection | None:
        """Return the idle connection that was used last, or None.

        A connection with unread input is not used: while the event loop was busy the server has closed it, or sent
        bytes that the next request would take for its reply (RFC 9112, 9.2).
        """
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.idle_until > self.loop.time():
                poll = connection.poll
                if poll is None or not poll(0):
                    return connection
                if connection.is_tls:
                    return self._take_past(connection)
            connection.abort()
        return None

    def _take_past(self, unread: Connection) -> Connection | None:
        """Return the next idle connection after one that has unread input over TLS.

        The input may be a session ticket: the connection stays idle, and the event loop reads it.
        """
        taken = self.take()
        self._idle[unread] = None
        return taken

    async def connect(self, deadline: float, connect_timeout: float | None = None) -> Connection:
        """Open a connection by `deadline` (loop time) and within the connect timeout; raise TransportError."""
        if self._closed:
            raise TransportError("connect", "the gateway is shutting down")
        self._dialing += 1
        try:
            return await self._dialer.dial(
                self._site, lambda: Connection(self.loop, self), deadline - self.loop.time(), connect_timeout
            )
        finally:
            self._dialing -= 1

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)
        if self._closed:
            connection.abort()

    def put_idle(self, connection: Connection) -> bool:
        """Take a connection back for reuse; return False when there is no room, or the server closes it soon."""
        if self._closed or len(self._idle) >= self._max_idle:
            return False
        seconds = self._idle_seconds
        terms = connection.parser.keep_alive_terms
        if terms is not None and (found := _KEEP_ALIVE.search(terms)):
            seconds = min(seconds, int(found[1]) - _SAFETY_MARGIN)
            if seconds <= 0:
                return False
        connection.idle_until = self.loop.time() + seconds
        idle = self._idle
        if not idle:
            self._on_idle()
        idle[connection] = None
        return True

    def lost(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        self._open.discard(connection)

    def sweep(self) -> bool:
        """Close connections that were idle too long; return whether any idle connection is left."""
        now = self.loop.time()
        for connection in [each for each in self._idle if each.idle_until <= now]:
            connection.abort()
        return bool(self._idle)

    def close(self) -> None:
        """Close every connection; later ones are closed as soon as they open."""
        self._closed = True
        for connection in list(self._open):
            connection.abort()
