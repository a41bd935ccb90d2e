"""Reads the body of one reply, and returns the connection to the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from llm_gateway.flow.ports.upstream import (
    OversizedReply,
    QuietContent,
    ReplyListener,
    SilentProvider,
    TransportError,
)
from llm_gateway.infra.upstream.content_coding import Inflater, Undecodable, inflater_for
from llm_gateway.infra.upstream.http11.connection import Connection

# Seconds for a stream's body to end after its last event, so that its connection can be reused.
_FINISH_SECONDS = 0.5


class PooledReply(msgspec.Struct):
    """Implements the `ListenedReply` port over a connection that has received the head of a reply.

    It owns the connection until `close` or `finish`. It is made by position, mostly by `pooled_reply`.
    """

    # What a provider sent must not appear in logs and tracebacks by accident.
    __repr__ = object.__repr__

    _connection: Connection | None
    _loop: asyncio.AbstractEventLoop
    # Pass plain content to the client's connection unread, where `relay` allows it.
    _passes_quiet: bool
    status: int
    # None = those of what was recognised, which are read when they are asked for: most streams' are not.
    _headers: Mapping[bytes, bytes] | None = None
    _inflater: Inflater | None = None

    def header(self, name: str) -> str | None:
        """Return a header by lower-case name; of several with this name the last."""
        value = self._read_headers().get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    async def read(self, timeout: float) -> bytes:
        connection = self._current()
        if data := self._take(connection):
            return data
        deadline = self._loop.time() + timeout
        while not connection.parser.complete:
            await self._more(connection, deadline, SilentProvider)
            if data := self._take(connection):
                return data
        return b""

    async def read_all(self, limit: int, timeout: float) -> bytes:
        connection = self._current()
        if int(self._read_headers().get(b"content-length", 0)) > limit:
            raise OversizedReply
        if connection.parser.complete and self._inflater is None:
            # The whole body has arrived already, as that of a short reply does.
            whole = connection.take()
            if len(whole) > limit:
                raise OversizedReply
            return whole
        deadline = self._loop.time() + timeout
        parts: list[bytes] = []
        size = 0
        while True:
            while data := self._take(connection):
                size += len(data)
                if size > limit:
                    raise OversizedReply
                parts.append(data)
            if connection.parser.complete:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            await self._more(connection, deadline, _late_reply)

    async def relay(
        self, take: Callable[[bytes], bool], max_silence: float, quiet: QuietContent | None = None
    ) -> None:
        """Relay an uncoded body; returns at once for a coded one."""
        if not self.begin_relay(take, max_silence, quiet, None):
            return
        connection = self._current()
        try:
            on_time = await connection.wait(self._loop.time() + max_silence)
        finally:
            connection.end_relay()
        if not on_time:
            raise SilentProvider

    def read_nowait(self) -> bytes:
        connection = self._connection or self._current()
        pieces = connection.parser.pieces
        if self._inflater is None and len(pieces) == 1 and not connection.reading_paused:
            # As `Connection.take` does, without its frame.
            connection.unread = 0
            return pieces.pop()
        return self._take(connection)

    def listen(self, listener: ReplyListener, timeout: float) -> bool:
        connection = self._connection or self._current()
        if connection.parser.complete or connection.error is not None:
            return False
        connection.listen(listener, self._loop.time() + timeout)
        return True

    def begin_relay(
        self,
        take: Callable[[bytes], bool],
        max_silence: float,
        quiet: QuietContent | None,
        listener: ReplyListener | None,
    ) -> bool:
        """Without a listener, a task has to wait."""
        connection = self._connection or self._current()
        if self._inflater is not None:
            return False
        parser = connection.parser
        if (parser.pieces and not take(connection.take())) or parser.complete or connection.error is not None:
            return False
        self._headers = parser.forget_headers()
        connection.begin_relay(take, max_silence, quiet if self._passes_quiet else None, listener)
        return True

    def end_relay(self) -> None:
        (self._connection or self._current()).end_relay()

    def finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.parser.complete:
                # As `finish` does, without its frame.
                connection.release()
            else:
                connection.finish(_FINISH_SECONDS)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _read_headers(self) -> Mapping[bytes, bytes]:
        headers = self._headers
        if headers is None:
            headers = self._headers = self._current().parser.headers
        return headers

    def _current(self) -> Connection:
        if self._connection is None:
            raise TransportError("cut", "the reply was closed before it was read")
        return self._connection

    def _take(self, connection: Connection) -> bytes:
        """Return bytes of the body that have arrived, b"" for none."""
        inflater = self._inflater
        if inflater is None:
            return connection.take() if connection.parser.pieces else b""
        try:
            while not (data := inflater.take()):
                if not connection.parser.pieces:
                    if connection.parser.complete:
                        inflater.end()
                    break
                inflater.feed(connection.take())
        except Undecodable:
            raise TransportError("protocol", "the provider's compressed reply cannot be decoded") from None
        return data

    @staticmethod
    async def _more(connection: Connection, deadline: float, late: Callable[[], TransportError]) -> None:
        """Wait for an event; raise TransportError when the connection has failed, or when `deadline` passed."""
        error = connection.error
        if error is not None:
            raise TransportError(error.kind, str(error))
        if not await connection.wait(deadline):
            raise late()


def pooled_reply(
    connection: Connection, loop: asyncio.AbstractEventLoop, *, passes_quiet: bool = True
) -> PooledReply:
    """Return the reply that a connection is receiving; raise TransportError for an unknown content coding."""
    parser = connection.parser
    reply = PooledReply(connection, loop, passes_quiet, parser.status)
    if parser.recognised is not None:
        return reply
    reply._headers = parser.headers  # noqa: SLF001 - made here
    if parser.coding is not None:
        try:
            reply._inflater = inflater_for(reply.header("content-encoding"))  # noqa: SLF001
        except Undecodable:
            connection.abort()
            message = "the provider's reply has a content coding that was not requested"
            raise TransportError("protocol", message) from None
    return reply


def _late_reply() -> TransportError:
    return TransportError("timeout", "the provider did not finish its reply in time")
