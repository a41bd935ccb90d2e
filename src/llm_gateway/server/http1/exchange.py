"""One request and its response: ASGI's receive and send, plus cheaper calls for our own application."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from llm_gateway.server.http1.rejection import HttpRejection
from llm_gateway.server.http1.response_head import (
    chunked_head,
    joined,
    read_headers,
    unframed_head,
    whole_response,
)
from llm_gateway.sockets.head_join import Headers

if TYPE_CHECKING:
    from llm_gateway.server.http1.protocol import GatewayProtocol

# The key of the exchange in the extensions of the scope.
EXTENSION = "llm_gateway.exchange"
# The key of `head_state` under which the application leaves what serves later requests with the same head directly.
DIRECT = "direct"

Message = dict[str, Any]
Application = Callable[..., Awaitable[None]]

logger = logging.getLogger("uvicorn.error")

# Larger bodies are written on their own, without a copy that joins them to the head.
_JOIN_LIMIT = 65536
# Where the application leaves the id of a request.
_REQUEST_ID = "llm_gateway.request_id"
_STOPPING = (503, "unavailable", "The gateway is shutting down; retry the request.")
_BODILESS = frozenset({*range(100, 200), 204, 304})


class ChunkSink(msgspec.Struct):
    """Writes the chunks of a streamed body, until the client is slow or gone."""

    # Writes a chunk with its frame.
    write: Callable[[bytes], None]
    # Whether another chunk may be written now. The exchange and the protocol keep both up to date.
    open: bool = True
    gone: bool = False

    def __call__(self, body: bytes) -> bool:
        """Frame and write a chunk; return whether another may follow."""
        if self.gone:
            return False
        self.write(b"%x\r\n%b\r\n" % (len(body), body))
        return self.open

    def client_left(self) -> None:
        self.gone, self.open = True, False


class Exchange:
    """The state of one request and its response, created by the protocol when the head is complete.

    Besides ASGI's `receive` and `send` it has cheaper calls: `register` reports a disconnect without a task that
    waits for it, `receive_nowait` returns a body that has arrived, `respond` sends a whole response.
    """

    __slots__ = (
        "_buffered", "_chunked", "_chunks", "_has_update", "_head", "_is_head", "_remaining", "_sink", "_updated",
        "_version", "disconnected", "expects_continue", "gone", "head_state", "is_direct", "keep_alive", "more_body",
        "on_disconnect", "protocol", "response_complete", "response_started",
    )  # fmt: skip

    def __init__(self, protocol: GatewayProtocol, method: str, version: str, keep_alive: bool) -> None:
        """`keep_alive` tells whether the client asked to keep the connection open."""
        self.protocol = protocol
        self._version = version
        # Called once if the client disconnects before its response is complete; `register` sets it.
        self.on_disconnect: Callable[[], object] | None = None
        # The client disconnected before its response was complete.
        self.gone = False
        # The rest of the response will not be read.
        self.disconnected = False
        self.keep_alive = keep_alive
        self.expects_continue = False
        # No task handles the request, or not yet.
        self.is_direct = False
        # State that the application derived from the head; the next request with the same head from the same
        # address gets it again. None if the head is new.
        self.head_state: dict[str, Any] | None = None
        # The body of the request: what has arrived and was not received yet.
        self.more_body = True
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._has_update = False
        self._updated: asyncio.Event | None = None
        # The response. Its head is written together with the first body message.
        self.response_started = False
        self.response_complete = False
        self._is_head = method == "HEAD"
        self._head: bytes | None = None
        self._chunked = False
        self._sink: ChunkSink | None = None
        # Bytes of the body still to come by its content-length; None = no content-length.
        self._remaining: int | None = 0

    # --- called by the protocol -----------------------------------------------------------------------

    def feed(self, body: bytes) -> None:
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > HIGH_WATER_LIMIT:
            self.protocol.flow.pause_reading()
        self.wake()

    def feed_whole(self, body: bytes) -> None:
        """Take the whole body, before the application starts."""
        self._chunks.append(body)
        self._has_update = True
        self.more_body = False

    def wake(self) -> None:
        """Let a waiting `receive` check again."""
        self._has_update = True
        if self._updated is not None:
            self._updated.set()

    def client_left(self) -> None:
        """Handle the disconnect of the client."""
        if not self.response_complete and not self.disconnected:
            self.disconnected = self.gone = True
            if self._sink is not None:
                self._sink.client_left()
            self.wake()
            on_leave, self.on_disconnect = self.on_disconnect, None
            if on_leave is not None:
                try:
                    on_leave()
                except Exception:
                    logger.exception("The application's disconnect callback failed")

    def may_write(self, *, may: bool) -> None:
        """Handle a change of what the connection can take."""
        sink = self._sink
        if sink is not None and not sink.gone:
            sink.open = may

    @property
    def begun(self) -> bool:
        """Tell whether any byte of the response was written."""
        return self.response_started and self._head is None

    async def run(self, app: Application, scope: dict[str, Any]) -> None:
        """Run the application; answer 500 if it does not complete a response."""
        try:
            await app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            # The client disconnected (then no answer is sent), or the process stops.
            self._fail(*_STOPPING)
            raise
        except Exception:
            about = {"request_id": scope.get(_REQUEST_ID)}
            logger.exception("The application failed on a request", extra=about)
        else:
            if not self.response_complete and not self.disconnected:
                logger.error("The application returned without completing a response")
        self._fail(500, "internal_error", "The gateway failed on this request.")

    # --- called by the application --------------------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next piece of the body, or `http.disconnect` after the response or a disconnect."""
        if self.expects_continue:
            self.expects_continue = False
            if not self.response_started:
                self.protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._has_update or self.disconnected or self.response_complete):
            self.protocol.flow.resume_reading()
            if self._updated is None:
                self._updated = asyncio.Event()
            self._updated.clear()
            await self._updated.wait()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._take_piece(), "more_body": self.more_body}

    def receive_nowait(self) -> bytes | None:
        """Return the whole body if it has arrived, as it usually has; else None.

        It does not wait, so the caller needs no deadline.
        """
        if self.more_body or not self._has_update or self.disconnected or self.response_complete:
            return None
        return self._take_piece()

    def register(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, synchronously, if the client disconnects before its response is complete.

        If it already has, the call comes at once. A second callback replaces the first.
        """
        if self.gone:
            callback()
        else:
            self.on_disconnect = callback

    def unregister(self) -> None:
        self.on_disconnect = None

    def run_in_task(self, app: Application, ended: Callable[[object], object]) -> None:
        """Let an application finish what was begun without a task; `ended` is called after it."""
        self.is_direct = False
        self.protocol.start_task(self.run(app, {})).add_done_callback(ended)

    def cut(self) -> bool:
        """Give up a request that no task handles, because the process stops; return whether this was one."""
        if not self.is_direct or self.response_complete or self.disconnected:
            return False
        on_leave, self.on_disconnect = self.on_disconnect, None
        if on_leave is not None:
            on_leave()
        self._fail(*_STOPPING)
        return True

    def respond(self, status: int, headers: Headers, body: bytes) -> bool:
        """Send a whole response; `headers` do not include content-length. False if it must be sent by `send`."""
        protocol = self.protocol
        is_plain = self.keep_alive and not (self._is_head or self.more_body or status in _BODILESS)
        if not is_plain or protocol.flow.write_paused or len(body) > _JOIN_LIMIT:
            return False
        response = whole_response(status, headers, body)
        if response is None:
            return False
        if not self.disconnected:
            protocol.transport.write(response)
            self.response_started = self.response_complete = True
            self.on_disconnect = None
            if self._updated is not None:
                self.wake()
            protocol.on_exchange_complete(self)
        return True

    def stream_head(self, headers: Headers) -> bytes | None:
        """Return the head of a streamed response for `write_stream`; None if it must be sent by `send`."""
        if not self.keep_alive or self._is_head or self.more_body or self.protocol.flow.write_paused:
            return None
        return chunked_head(headers)

    def write_stream(self, head: bytes, body: bytes, last: bytes | None) -> ChunkSink | None:
        """Write a piece of a streamed response, its head before the first.

        Behind `last`, in the same chunk, the response ends; None = more is to come, for the `sink` it returns.
        """
        if self.disconnected:
            return None
        self.response_started, self._chunked, self._remaining = True, True, None
        protocol, write = self.protocol, self.protocol.transport.write
        if last is None:
            write(b"%b%x\r\n%b\r\n" % (head, len(body), body) if body else head)
            if protocol.flow.write_paused or self.disconnected:
                return None
            sink = self._sink = ChunkSink(write)
            return sink
        size = len(body) + len(last)
        write(b"%b%x\r\n%b%b\r\n0\r\n\r\n" % (head, size, body, last) if size else head + b"0\r\n\r\n")
        self.response_complete, self.on_disconnect = True, None
        if self._updated is not None:
            self.wake()
        protocol.on_exchange_complete(self)
        return None

    def _take_piece(self) -> bytes:
        self._has_update = False
        chunks = self._chunks
        # The usual case is one piece, which needs no copy.
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._buffered = 0
        # Always, not only in `receive`: a disconnect is noticed only on a connection that is read.
        self.protocol.flow.resume_reading()
        return body

    async def send(self, message: Message) -> None:
        """Send the start of the response, then its body; wait while the client reads too slowly."""
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
                # A chunk in the middle of a stream, by far the most frequent message.
                self.protocol.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
            else:
                self._send_body(body, more=more)
        elif kind == "http.response.start" and not self.response_started:
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"ASGI message {kind!r} is out of order")

    def sink(self) -> ChunkSink | None:
        """Return a function that writes a chunk and tells whether another may follow; None if none may be written."""
        protocol = self.protocol
        if not self._chunked or self._head is not None or self._is_head or self.disconnected:
            return None
        if protocol.flow.write_paused:
            return None
        sink = self._sink = ChunkSink(protocol.transport.write)
        return sink

    # --- inside ---------------------------------------------------------------------------------------

    def _start(self, status: int, headers: Headers) -> None:
        """Build the head of the response; it is written with the first body message."""
        if self.expects_continue and self.more_body:
            # The client may send the body that it was not asked for, or not: what follows is ambiguous.
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
                raise RuntimeError("The body of the response does not match its content-length")
        self._write(body, more=more)
        if not more:
            self.response_complete = True
            self.wake()
            self.protocol.on_exchange_complete(self)

    def _write(self, body: bytes, *, more: bool) -> None:
        """Write the head, if it was not written yet, and a piece of the body."""
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
        """End an incomplete response: with an error, or, if it has begun, by closing the connection."""
        if self.response_complete or self.disconnected:
            return
        self.disconnected = True
        if self._sink is not None:
            self._sink.client_left()
        transport = self.protocol.transport
        if not self.begun:
            failure = HttpRejection(status, code, message, error_type="server_error")
            transport.write(failure.as_bytes(self.protocol.new_request_id()))
        elif self._remaining is None and not self._chunked:
            # The body ends with the connection: only a reset tells the client that it is incomplete.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        self.protocol.close()
