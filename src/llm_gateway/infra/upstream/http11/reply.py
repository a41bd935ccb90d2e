"""Hands the body of one reply to its reader, and the connection back to the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.content_coding import Inflater, Undecodable, inflater_for
from llm_gateway.infra.upstream.http11.connection import Connection

# How long a stream's body may take to end after its last event, in seconds.
_LINGER = 0.5


class PooledReply:
    """The `UpstreamReply` port over a connection whose reply's head is here."""

    __slots__ = ("_connection", "_headers", "_inflater", "_loop", "status")

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Own the connection until `close` or `finish`; TransportError for a coding that nobody can undo."""
        parser = connection.parser
        self._connection: Connection | None = connection
        self._loop = loop
        self.status = parser.status
        self._headers = parser.headers
        self._inflater: Inflater | None = None
        if b"content-encoding" in self._headers:
            try:
                self._inflater = inflater_for(self.header("content-encoding"))
            except Undecodable:
                message = "the provider's body has a coding that was not asked for"
                raise TransportError("protocol", message) from None

    def header(self, name: str) -> str | None:
        """Return a header's value by lower-case name; of several equal ones the last."""
        value = self._headers.get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    async def read(self, timeout: float) -> bytes:
        """Return what is there, joined, or wait for it."""
        connection = self._in_hand()
        if data := self._take(connection):
            return data
        deadline = self._loop.time() + timeout
        while not connection.parser.complete:
            await self._more(connection, deadline, "the provider went silent")
            if data := self._take(connection):
                return data
        return b""

    async def read_all(self, limit: int, timeout: float) -> bytes:
        """Return the body."""
        connection = self._in_hand()
        if int(self._headers.get(b"content-length", 0)) > limit:
            raise _too_large()
        if connection.parser.complete and self._inflater is None:
            # All of it came with the head, as short replies do.
            whole = connection.take()
            if len(whole) > limit:
                raise _too_large()
            return whole
        deadline = self._loop.time() + timeout
        parts: list[bytes] = []
        size = 0
        while True:
            while data := self._take(connection):
                size += len(data)
                if size > limit:
                    raise _too_large()
                parts.append(data)
            if connection.parser.complete:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            await self._more(connection, deadline, "the provider did not finish its answer in time")

    async def relay(self, take: Callable[[bytes], bool], patience: float) -> None:
        """Hand each piece over as it comes; a coded body is left to `read`."""
        connection = self._in_hand()
        if self._inflater is not None:
            return
        if connection.parser.pieces and not take(connection.take()):
            return
        if connection.parser.complete or connection.fault is not None:
            return
        if not await connection.hand_over(take, patience):
            raise TransportError("timeout", "the provider went silent")

    def finish(self) -> None:
        """Keep the connection if the body ends within a moment, else drop it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish(_LINGER)

    def close(self) -> None:
        """Give the connection back when the body came to its end, else drop it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.done()

    def _in_hand(self) -> Connection:
        if self._connection is None:
            raise TransportError("cut", "the reply was let go before it was read")
        return self._connection

    def _take(self, connection: Connection) -> bytes:
        """Return the next bytes of the body that are here, b"" for none."""
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
            raise TransportError("protocol", "the provider's compressed body cannot be decoded") from None
        return data

    @staticmethod
    async def _more(connection: Connection, deadline: float, late: str) -> None:
        """Wait until something came; raise TransportError when nothing more can, or `deadline` passed."""
        fault = connection.fault
        if fault is not None:
            raise TransportError(fault.kind, str(fault))
        if not await connection.wait(deadline):
            raise TransportError("timeout", late)


def _too_large() -> TransportError:
    return TransportError("protocol", "the provider's reply is too large")
