"""The default HTTP client: keep-alive HTTP/1.1 connections, written for low CPU cost per request."""

from __future__ import annotations

import asyncio
import ssl

from llm_gateway.flow.ports.upstream import TransportError, Upstream
from llm_gateway.infra.upstream.address import InvalidRequest, RequestTarget, ServerAddress, parse_url
from llm_gateway.infra.upstream.dialer import Dialer
from llm_gateway.infra.upstream.http11.connection import Connection
from llm_gateway.infra.upstream.http11.messages import encode_head
from llm_gateway.infra.upstream.http11.origin import Origin
from llm_gateway.infra.upstream.http11.prepared import PooledRequest, Sent
from llm_gateway.infra.upstream.http11.reply import PooledReply, pooled_reply
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.sockets.write_batch import WriteBatch

_MAX_ROUTES = 4096
_SWEEP_SECONDS = 5.0
_MAX_CLOSE_ITERATIONS = 100


class PooledUpstream(Upstream):
    """Implements the `Upstream` port over keep-alive connections, without a limit on their number.

    The cost of a request does not depend on the number of open connections. Does not support proxies: see
    `by_proxy`.
    """

    def __init__(
        self,
        *,
        connect_timeout: float,
        allow_private: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        idle_seconds: float = 30.0,
        max_idle: int = 1000,
        passes_quiet: bool = True,
        batch: WriteBatch | None = None,
    ) -> None:
        """Times are in seconds; `max_idle` applies to each scheme, host and port.

        `passes_quiet`: the plain content of a stream goes to the client's connection unread (`QuietRelay`).
        Small requests are sent in `batch`; without it, at once.
        """
        self._passes_quiet = passes_quiet
        self._batch = batch
        self._dialer = Dialer(
            connect_timeout=connect_timeout, allow_private=allow_private, ssl_context=ssl_context
        )
        self._idle_seconds = idle_seconds
        self._max_idle = max_idle
        self._routes: dict[str, tuple[RequestTarget, Origin]] = {}
        self._origins: dict[ServerAddress, Origin] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def send(self, request: UpstreamRequest, timeout: float) -> PooledReply:
        """Send a request and wait for the head of its reply.

        When a reused connection is closed before the first byte of a reply, the request is sent again, once,
        on a new connection: the server had closed the idle one. That does not count as a further attempt.
        """
        try:
            target, origin = self._routes.get(request.url) or self._route(request.url)
            head = encode_head(request, target)
        except InvalidRequest as error:
            raise TransportError("protocol", str(error)) from None
        deadline = origin.loop.time() + timeout
        connection = origin.take()
        if connection is None:
            return await self._send_anew(origin, head, request.body, deadline, request.connect_timeout)
        connection.begin(head, request.body)
        sent = Sent(origin, connection, head, request.body, deadline, request.connect_timeout)
        return await self._receive(sent, on_time=True)

    def prepare(self, request: UpstreamRequest, /) -> PooledRequest | None:
        try:
            target, origin = self._routes.get(request.url) or self._route(request.url)
            return PooledRequest(self._receive, origin, request, target, passes_quiet=self._passes_quiet)
        except InvalidRequest:
            # Whoever sends it says why.
            return None

    async def _receive(self, sent: Sent, on_time: bool) -> PooledReply:
        """Wait for the head of the reply to a request that was begun on a reused connection."""
        connection = sent.connection
        if await self._has_head(connection, sent.body, sent.deadline, on_time=on_time):
            return pooled_reply(connection, sent.origin.loop, passes_quiet=self._passes_quiet)
        if connection.reply_begun:
            raise _missing_head_error(connection)
        return await self._send_anew(sent.origin, sent.head, sent.body, sent.deadline, sent.connect_timeout)

    async def _send_anew(
        self, origin: Origin, head: bytes, body: bytes, deadline: float, connect_timeout: float | None
    ) -> PooledReply:
        """Send a request on a new connection."""
        connection = await origin.connect(deadline, connect_timeout)
        connection.begin(head, body)
        if await self._has_head(connection, body, deadline):
            return pooled_reply(connection, origin.loop, passes_quiet=self._passes_quiet)
        raise _missing_head_error(connection)

    @staticmethod
    async def _has_head(
        connection: Connection, body: bytes, deadline: float, *, on_time: bool = True
    ) -> bool:
        """Wait for the head of a reply; drop the connection if it ends before, or if the wait fails."""
        try:
            if await _receive_head(connection, body, deadline, on_time=on_time):
                return True
        except BaseException:
            connection.abort()
            raise
        connection.abort()
        return False

    def connections(self) -> dict[str, int]:
        """Return how many connections are busy and idle, of all origins."""
        origins = self._origins.values()
        return {"busy": sum(one.busy for one in origins), "idle": sum(one.idle for one in origins)}

    async def close(self) -> None:
        self._dialer.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for origin in self._origins.values():
            origin.close()
        # The event loop closes the sockets in its next iterations.
        for _ in range(_MAX_CLOSE_ITERATIONS):
            if all(origin.unused for origin in self._origins.values()):
                break
            await asyncio.sleep(0)

    def _route(self, url: str) -> tuple[RequestTarget, Origin]:
        target = parse_url(url)
        origin = self._origins.get(target.server)
        if origin is None:
            origin = self._origins[target.server] = Origin(
                target.server,
                dialer=self._dialer,
                loop=asyncio.get_running_loop(),
                idle_seconds=self._idle_seconds,
                max_idle=self._max_idle,
                on_idle=self._schedule_sweep,
                batch=self._batch,
            )
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        self._routes[url] = target, origin
        return target, origin

    def _schedule_sweep(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(
                min(_SWEEP_SECONDS, self._idle_seconds), self._sweep
            )

    def _sweep(self) -> None:
        self._sweeper = None
        idle = [origin.sweep() for origin in self._origins.values()]
        if any(idle):
            self._schedule_sweep()
        unused = [server for server, origin in self._origins.items() if origin.unused]
        if unused:
            self._routes.clear()
            for server in unused:
                del self._origins[server]


async def _receive_head(connection: Connection, body: bytes, deadline: float, *, on_time: bool) -> bool:
    """Return True when the reply's head is complete, False when the connection ended before."""
    parser = connection.parser
    if on_time and not connection.sent:
        on_time = await connection.upload(body, deadline)
    while on_time:
        if parser.status:
            return True
        if connection.error is not None:
            return False
        on_time = await connection.wait(deadline)
    raise TransportError("timeout", "the provider did not reply in time")


def _missing_head_error(connection: Connection) -> TransportError:
    error = connection.error
    if error is not None and error.kind == "protocol":
        return error
    return TransportError("cut", "the provider closed the connection before it replied")
