"""One request and its response: ASGI's receive and send, and a shorter way for our own application."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from llm_gateway.server.http1.rejection import HttpRejection
from llm_gateway.server.http1.response_head import Headers, joined, read_headers, unframed_head

if TYPE_CHECKING:
    from llm_gateway.server.http1.protocol import GatewayProtocol

# Where the exchange lies in the scope's extensions, for an application that knows its shorter ways.
EXTENSION = "llm_gateway.exchange"

Message = dict[str, Any]
Application = Callable[..., Awaitable[None]]

logger = logging.getLogger("uvicorn.error")

# Larger bodies are written by themselves rather than joined to what goes around them.
_JOIN_LIMIT = 65536
_BODILESS = frozenset({*range(100, 200), 204, 304})


class Exchange:
    """What is known of one request and its response; made by the protocol when the head is complete.

    Beside ASGI's `receive` and `send` it offers what costs less: `register` tells of the client's leaving without
    a task that waits for it, `receive_now` gives a body that is there, `respond` sends a response that is whole.
    """

    __slots__ = (
        "_buffered", "_changed", "_chunked", "_chunks", "_head", "_is_head", "_news", "_on_leave", "_remaining",
        "_version", "disconnected", "expects_continue", "gone", "keep_alive", "kept", "more_body", "protocol",
        "response_complete", "response_started",
    )  # fmt: skip

    def __init__(self, protocol: GatewayProtocol, method: str, version: str, *, keep_alive: bool) -> None:
        """Take the connection it is on and what the request line says; `keep_alive` as the client asks."""
        self.protocol = protocol
        self._version = version
        self._on_leave: Callable[[], object] | None = None
        # The client left before its response was complete.
        self.gone = False
        # Nobody will read the rest of the response.
        self.disconnected = False
        self.keep_alive = keep_alive
        self.expects_continue = False
        # Where the application may keep what it read in the head: the next request on this connection with the
        # same head has it again. None when the head is new.
        self.kept: dict[str, Any] | None = None
        # The request's body: what came and was not received yet.
        self.more_body = True
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._news = False
        self._changed: asyncio.Event | None = None
        # The response. The head waits for the first body message, so that both leave in one write.
        self.response_started = False
        self.response_complete = False
        self._is_head = method == "HEAD"
        self._head: bytes | None = None
        self._chunked = False
        # Bytes that the declared length still asks for; None = until the connection closes.
        self._remaining: int | None = 0

    # --- called by the protocol -----------------------------------------------------------------

    def feed(self, body: bytes) -> None:
        """Take a piece of the request's body."""
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > HIGH_WATER_LIMIT:
            self.protocol.flow.pause_reading()
        self.wake()

    def wake(self) -> None:
        """Let `receive` look again."""
        self._news = True
        if self._changed is not None:
            self._changed.set()

    def leave(self) -> None:
        """Note that nobody will read the response."""
        if not self.response_complete and not self.disconnected:
            self.disconnected = self.gone = True
            self.wake()
            on_leave, self._on_leave = self._on_leave, None
            if on_leave is not None:
                try:
                    on_leave()
                except Exception:
                    logger.exception("The application's disconnect callback failed")

    @property
    def begun(self) -> bool:
        """Tell whether any of the response is on the wire."""
        return self.response_started and self._head is None

    async def run(self, app: Application, scope: dict[str, Any]) -> None:
        """Run the application on this request, and answer 500 if it gives no answer."""
        try:
            await app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            # Because the client left (then there is nobody to tell), or because the process ends.
            self._fail(
                503, "unavailable", "The gateway is shutting down; send the request again, or to another one."
            )
            raise
        except Exception:
            logger.exception("The application failed on a request")
        else:
            if not self.response_complete and not self.disconnected:
                logger.error("The application returned without completing a response")
        self._fail(500, "internal_error", "The gateway failed on this request.")

    # --- the application's side -------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next piece of the body, or `http.disconnect` once the exchange is over."""
        if self.expects_continue:
            self.expects_continue = False
            if not self.response_started:
                self.protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._news or self.disconnected or self.response_complete):
            self.protocol.flow.resume_reading()
            if self._changed is None:
                self._changed = asyncio.Event()
            self._changed.clear()
            await self._changed.wait()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        return self._piece()

    def receive_nowait(self) -> Message | None:
        """Return the whole body's message if it has come, as most have when the application starts; else None.

        There is no waiting, so that no deadline has to be set.
        """
        if self.more_body or not self._news or self.disconnected or self.response_complete:
            return None
        return self._piece()

    def register(self, callback: Callable[[], object]) -> None:
        """Have `callback` called once, synchronously, if the client leaves before its response is complete.

        Called at once when the client is gone already. A second callback takes the first one's place.
        """
        if self.gone:
            callback()
        else:
            self._on_leave = callback

    def unregister(self) -> None:
        """Call nothing any more."""
        self._on_leave = None

    def respond(self, status: int, headers: Headers, body: bytes) -> bool:
        """Send a whole response, its content-length left out of `headers`; False when it must go by `send`."""
        protocol = self.protocol
        is_plain = self.keep_alive and not (self._is_head or self.more_body or status in _BODILESS)
        if not is_plain or protocol.flow.write_paused or len(body) > _JOIN_LIMIT:
            return False
        head = unframed_head(status, headers)
        if head is None:
            return False
        if not self.disconnected:
            protocol.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
            self.response_started = self.response_complete = True
            self.wake()
            protocol.on_exchange_complete(self)
        return True

    def _piece(self) -> Message:
        self._news = False
        chunks = self._chunks
        # One piece, the usual case, is passed on as it is.
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._buffered = 0
        # Not only while waiting: a connection that is not read does not show that its client left.
        self.protocol.flow.resume_reading()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """Take the response's start, then its body; waits while the client reads too slowly."""
        flow = self.protocol.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.response_started and not self.response_complete:
            body = message.get("body", b"")
            more = message.get("more_body", False)
            if body and more and self._chunked and self._head is None:
                # A chunk in the middle of a stream: by far the most frequent message.
                self.protocol.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
            else:
                self._send_body(body, more=more)
        elif kind == "http.response.start" and not self.response_started:
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"ASGI message {kind!r} is out of order")

    def sink(self) -> Callable[[bytes], bool] | None:
        """Return what sends a piece of a chunked body and tells whether another may follow; None if none may."""
        if not self._chunked or self._head is not None or self._is_head or self.disconnected:
            return None
        return None if self.protocol.flow.write_paused else self._pass_on

    def _pass_on(self, body: bytes) -> bool:
        if self.disconnected:
            return False
        protocol = self.protocol
        protocol.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        return not protocol.flow.write_paused

    # --- inside -------------------------------------------------------------------------------------

    def _start(self, status: int, headers: Headers) -> None:
        """Make the response's head; it is written with the first body message."""
        if self.expects_continue and self.more_body:
            # Never asked for its body, the client may send it or not: what follows could be either.
            self.keep_alive = False
        length: int | None = None
        closes = False
        head = unframed_head(status, headers)
        if head is None:
            lines, length, closes = read_headers(status, headers)
            head = joined(lines)
        end = b"\r\n"
        if not self.keep_alive and not closes:
            end = b"connection: close\r\n\r\n"
        self.keep_alive = self.keep_alive and not closes
        if self._is_head or status in _BODILESS:
            length = 0
        elif length is None:
            if self._version == "1.1":
                self._chunked = True
                end = b"transfer-encoding: chunked\r\n" + end
            else:
                self.keep_alive = False
        self._remaining = length
        self._head = head + end
        self.response_started = True
        self.expects_continue = False

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self._is_head:
            body = b""
        if self._remaining is not None:
            self._remaining -= len(body)
            if self._remaining < 0 or (self._remaining and not more):
                raise RuntimeError("The response's body does not have its declared content-length")
        self._write(body, more=more)
        if not more:
            self.response_complete = True
            self.wake()
            self.protocol.on_exchange_complete(self)

    def _write(self, body: bytes, *, more: bool) -> None:
        """Write the head if it waits, and this much of the body."""
        size = len(body)
        before = self._head or b""
        after = b""
        self._head = None
        if self._chunked:
            if size:
                before = b"%b%x\r\n" % (before, size)
                after = b"\r\n"
            if not more:
                after += b"0\r\n\r\n"
        transport = self.protocol.transport
        if size > _JOIN_LIMIT:
            transport.write(before)
            transport.write(body)
            if after:
                transport.write(after)
        elif before or after:
            transport.write(b"".join((before, body, after)))
        elif size:
            transport.write(body)

    def _fail(self, status: int, code: str, message: str) -> None:
        """End an incomplete response: with an error, or, once it has begun, by cutting it."""
        if self.response_complete or self.disconnected:
            return
        self.disconnected = True
        transport = self.protocol.transport
        if not self.begun:
            failure = HttpRejection(status, code, message, error_type="server_error")
            transport.write(failure.as_bytes(self.protocol.new_request_id()))
        elif self._remaining is None and not self._chunked:
            # Its end would be the connection's end: only a reset says that it was cut.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        transport.close()
