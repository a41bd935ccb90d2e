"""Requests that are encoded once but for their id and body, and sent without a task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from llm_gateway.flow.ports.upstream import PendingReply, PreparedRequest, ReplyListener
from llm_gateway.infra.upstream.address import RequestTarget
from llm_gateway.infra.upstream.http11.connection import SLICE, Connection
from llm_gateway.infra.upstream.http11.messages import split_head
from llm_gateway.infra.upstream.http11.origin import Origin
from llm_gateway.infra.upstream.http11.reply import PooledReply
from llm_gateway.providers.base import UpstreamRequest

_OK = 200


class Sent(NamedTuple):
    """A request on a reused connection; `deadline` is loop time."""

    origin: Origin
    connection: Connection
    head: bytes
    body: bytes
    deadline: float
    connect_timeout: float | None


# Waits for the head of a reply, whose deadline has passed unless the flag is set.
Receive = Callable[[Sent, bool], Awaitable[PooledReply]]


class PooledRequest(PreparedRequest):
    """Implements the `PreparedRequest` port over the pool's connections to one origin."""

    __slots__ = ("after_id", "before_id", "connect_timeout", "origin", "passes_quiet", "receive")

    def __init__(
        self,
        receive: Receive,
        origin: Origin,
        request: UpstreamRequest,
        target: RequestTarget,
        *,
        passes_quiet: bool,
    ) -> None:
        """Raise InvalidRequest for a request that cannot be sent at all, or has no id.

        `passes_quiet` is that of the replies.
        """
        self.passes_quiet = passes_quiet
        self.receive = receive
        self.origin = origin
        self.connect_timeout = request.connect_timeout
        self.before_id, self.after_id = split_head(request, target)

    def send(
        self, request_id: str, body: bytes, timeout: float, listener: ReplyListener
    ) -> PendingReply | None:
        if len(body) > SLICE:
            return None
        origin = self.origin
        connection = origin.take()
        if connection is None:
            return None
        head = b"%b%b%b%d\r\n\r\n" % (self.before_id, request_id.encode(), self.after_id, len(body))
        deadline = origin.loop.time() + timeout
        connection.begin_listened(head, body, listener, deadline)
        return _Pending(self, connection, head, body, deadline)


class _Pending(msgspec.Struct):
    """Implements the `PendingReply` port; made by position."""

    _request: PooledRequest
    _connection: Connection
    _head: bytes
    _body: bytes
    # Loop time.
    _deadline: float

    def whole(self, limit: int) -> bytes | None:
        connection = self._connection
        parser = connection.parser
        if not parser.complete or parser.status != _OK or connection.error is not None:
            return None
        pieces = parser.pieces
        if len(pieces) != 1 or parser.coding is not None:
            return None
        body = pieces[0]
        return body if len(body) <= limit else None

    def streamed(self) -> PooledReply | None:
        connection = self._connection
        parser = connection.parser
        if parser.status != _OK or connection.error is not None or parser.coding is not None:
            return None
        request = self._request
        # As `pooled_reply` does for a reply without a coding, without its frame.
        headers = parser.headers if parser.recognised is None else None
        return PooledReply(connection, request.origin.loop, request.passes_quiet, _OK, headers)

    def release(self) -> None:
        connection = self._connection
        connection.parser.pieces.clear()
        connection.release()

    def abandon(self) -> None:
        self._connection.abandon()

    async def reply(self, *, on_time: bool) -> PooledReply:
        request = self._request
        sent = Sent(
            request.origin, self._connection, self._head, self._body, self._deadline, request.connect_timeout
        )
        return await request.receive(sent, on_time)
