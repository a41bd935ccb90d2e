"""HTTP/1.1: reads the requests of a connection, with limits and deadlines, and starts the application."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import httptools
from uvicorn.config import Config

from llm_gateway.server.http1 import request_head
from llm_gateway.server.http1.client_connection import ClientConnection
from llm_gateway.server.http1.deadlines import NEVER
from llm_gateway.server.http1.exchange import DIRECT, EXTENSION, Application, Exchange
from llm_gateway.server.http1.head_cache import Headers, KnownHead
from llm_gateway.server.http1.rejection import HttpRejection
from llm_gateway.server.http1.state import GatewayServerState

_HEAD_END = b"\r\n\r\n"
# The state of the parser.
_BETWEEN, _HEAD, _BODY = range(3)


class GatewayProtocol(ClientConnection):
    """One connection.

    It has a deadline for the head of a request and limits on its size; strict checks of `Host`, target and framing;
    errors as OpenAI's JSON; 400 for a body that ends early; upgrades that are ignored without losing the body; and
    the exchange in the extensions of the scope.
    """

    __slots__ = (
        "_answering", "_chunk_overhead", "_discarding_input", "_fresh_bytes", "_head_size", "_heads_to_learn",
        "_known_head", "_learnable_head", "_parser", "_phase", "_reading", "_waiting", "deadline", "headers", "url",
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        server_state: GatewayServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # In the event loop's time; read by the DeadlineSweep.
        self.deadline = NEVER
        # Only while a request is read that may not be answered without it.
        self._parser: httptools.HttpRequestParser | None = None
        # Of the head read last: its target, and its headers with names in lower case.
        self.url = b""
        self.headers: Headers = []
        # The exchange whose application runs, or ran last; the one whose head was read last; and the
        # pipelined ones, None = there never were any.
        self._answering: Exchange | None = None
        self._reading: Exchange | None = None
        self._waiting: deque[tuple[Exchange, Application, dict[str, Any]]] | None = None
        self._phase = _BETWEEN
        # Whether all further input is discarded.
        self._discarding_input = False
        # Bytes of the head so far; negative if part of them is not known yet.
        self._head_size = 0
        # The initial `_head_size` of the next head.
        self._fresh_bytes = 0
        self._chunk_overhead = 0
        # The head that is expected next; the scope of the head read last, until it is remembered or dropped; and
        # how many more heads may be remembered.
        self._known_head: KnownHead | None = None
        self._learnable_head: dict[str, Any] | None = None
        self._heads_to_learn = self.limits.remembered_heads

    # --- called by asyncio ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the deadline for the first head."""
        super().connection_made(transport)
        self.deadline = self.loop.time() + self.limits.head_timeout

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify every exchange on this connection."""
        self.leave()
        self.deadline = NEVER
        self._discarding_input = True
        exchanges = [self._answering, *(waiting[0] for waiting in self._waiting or ())]
        # Break the reference cycles, so that no garbage collection is needed.
        self._answering = self._reading = self._waiting = self._parser = None
        for exchange in exchanges:
            if exchange is not None:
                exchange.client_left()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse input; large pieces in slices, so that the limit on the head is checked in time."""
        phase = self._phase
        known, answering = self._known_head, self._answering
        if known is not None and phase == _BETWEEN and not self._discarding_input:
            body = None if answering and not answering.response_complete else known.body_of(data)
            if body:
                self._answer_known_head(known, body)
                return
        size = self.limits.head_bytes
        if len(data) <= size or phase == _BODY or (phase == _BETWEEN and data.find(_HEAD_END, 0, size) > 0):
            self._feed(data)
            if self._learnable_head is not None:
                self._remember(data, is_whole=phase == _BETWEEN == self._phase)
            return
        view = memoryview(data)
        for start in range(0, len(data), size):
            self._feed(view[start : start + size])

    def eof_received(self) -> None:
        """Treat a half-close as a disconnect; answer an incomplete request with an error first."""
        if self._phase == _BODY:
            message = "The connection closed before the end of the request body."
            self._reject(HttpRejection(400, "incomplete_body", message))
        elif self._phase == _HEAD:
            message = "The connection closed before the end of the request head."
            self._reject(HttpRejection(400, "incomplete_head", message))

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._answering is not None:
            self._answering.may_write(may=False)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._answering is not None:
            self._answering.may_write(may=True)

    def on_deadline(self) -> None:
        """Close the connection; in the middle of a head, answer 408 first."""
        self.deadline = NEVER
        if self._phase == _HEAD and not self._discarding_input:
            seconds = self.limits.head_timeout
            self._reject(
                HttpRejection(
                    408, "request_timeout", f"The request head did not arrive within {seconds:g} seconds."
                )
            )
        else:
            self.close()

    def shutdown(self) -> None:
        """Close the connection now, or after the response that is in progress."""
        if self._is_answering():
            self._answering.keep_alive = False  # type: ignore[union-attr]  # it is answering
        else:
            self.close()

    # --- called by the parser -------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_message_begin(self) -> None:
        self._phase = _HEAD
        # Drop the head captured from the previous request.
        self._learnable_head = None
        self._head_size = self._fresh_bytes
        # The size of pipelined requests in the same piece is checked once their head is complete.
        self._fresh_bytes = -self.limits.head_bytes
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header; drop trailers of a chunked body, which come after the application got the headers."""
        if self._phase == _HEAD:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the head, then start the application or queue the request."""
        parser = self._parser
        if parser is None or parser.should_upgrade():
            # It is parsed again, see `_parse`.
            return
        limits = self.limits
        headers = self.headers
        size = self._head_size
        if len(headers) > limits.headers or (
            not 0 <= size <= limits.head_bytes and request_head.size_of(self.url, headers) > limits.head_bytes
        ):
            raise request_head.too_large(limits)
        method = parser.get_method()
        version = parser.get_http_version()
        head = request_head.read_head(method, version, self.url, headers)
        verb = method.decode("ascii")
        keep_alive = version == "1.1" and parser.should_keep_alive() and not self.server_state.draining
        exchange = Exchange(self, verb, version, keep_alive)
        exchange.expects_continue = head.expects_continue
        scope = request_head.scope_of(head, verb, version, self)
        if self._heads_to_learn and keep_alive and not head.expects_continue:
            self._learnable_head = scope.copy()
        scope["headers"] = headers
        scope["state"] = self.app_state.copy()
        scope["extensions"] = {EXTENSION: exchange}
        self._enqueue(exchange, self.app, scope)
        self._reading = exchange
        self._phase = _BODY
        self._chunk_overhead = 0

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on; drop it if the response is complete, and the rest if it has no known end."""
        self._chunk_overhead -= len(body)
        exchange = self._reading
        if exchange is not None and not exchange.response_complete:
            exchange.feed(body)
        elif not self._discarding_input and any(name == b"transfer-encoding" for name, _ in self.headers):
            self._linger()

    def on_message_complete(self) -> None:
        exchange = self._reading
        if self._phase == _HEAD or exchange is None:
            return
        self._phase = _BETWEEN
        exchange.more_body = False
        if not exchange.response_complete:
            exchange.wake()
        elif not self._is_answering():
            self.deadline = self.loop.time() + self.limits.keep_alive

    # --- called by exchanges --------------------------------------------------------------------------

    def on_exchange_complete(self, exchange: Exchange) -> None:
        """Start the next pipelined request, or wait for one."""
        self.server_state.total_requests += 1
        if not exchange.keep_alive:
            if self._phase == _BODY:
                self._linger()
            else:
                self.close()
            return
        if self.transport.is_closing():
            return
        flow = self.flow
        if flow.read_paused:
            flow.resume_reading()
        if self._waiting:
            self._answer(*self._waiting.popleft())
        else:
            limits = self.limits
            patience = limits.keep_alive if self._phase == _BETWEEN else limits.head_timeout
            self.deadline = self.loop.time() + patience

    # --- inside ---------------------------------------------------------------------------------------

    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    def _enqueue(self, exchange: Exchange, app: Application, scope: dict[str, Any]) -> None:
        """Answer now, or after the requests that came before."""
        if not self._is_answering():
            self._answer(exchange, app, scope)
            return
        if self._waiting is None:
            self._waiting = deque()
        waiting = len(self._waiting)
        if waiting >= self.limits.pipeline and not self._discarding_input:
            raise HttpRejection(400, "too_many_pipelined_requests", "Too many pipelined requests.")
        if waiting >= self.limits.pipeline_pause:
            self.flow.pause_reading()
        self._waiting.append((exchange, app, scope))

    def _answer(self, exchange: Exchange, app: Application, scope: dict[str, Any]) -> None:
        self.deadline = NEVER
        self._answering = exchange
        self.start_task(exchange.run(app, scope))

    def cut(self) -> bool:
        """Give up the request that is answered without a task, if there is one; return whether there was."""
        return self._answering is not None and self._answering.cut()

    def _answer_known_head(self, known: KnownHead, body: bytes) -> None:
        """Answer a request whose head is known, without the parser."""
        exchange = Exchange(self, known.method, "1.1", not self.server_state.draining)
        state = exchange.head_state = known.head_state
        self._reading = exchange
        serve = state.get(DIRECT)
        if serve is not None:
            self.deadline = NEVER
            self._answering = exchange
            exchange.is_direct, exchange.more_body = True, False
            if serve(exchange, body):
                return
            exchange.is_direct = False
        exchange.feed_whole(body)
        scope = known.scope(len(body), self.client)
        scope["state"] = self.app_state.copy()
        scope["extensions"] = {EXTENSION: exchange}
        self._answer(exchange, self.app, scope)

    def _remember(self, data: bytes, *, is_whole: bool) -> None:
        """Remember the head read last; `is_whole` tells whether `data` was exactly its request."""
        head, self._learnable_head = self._learnable_head, None
        self._heads_to_learn -= 1
        if is_whole and head is not None:
            known = self.server_state.known_heads.remember(data, self.headers, head)
            if known is not None:
                # The next request hardly needs what read this one.
                self._known_head, self._parser, self.headers = known, None, []

    def _feed(self, data: bytes | memoryview) -> None:
        if self._discarding_input:
            return
        size = len(data)
        phase = self._phase
        if phase == _BETWEEN:
            self._fresh_bytes = size
        elif phase == _HEAD:
            self._head_size += size
        else:
            self._fresh_bytes = -self.limits.head_bytes
            self._chunk_overhead += size
        try:
            self._parse(data)
        except HttpRejection as rejection:
            self._reject(rejection)
        else:
            if self._phase == _HEAD:
                self._check_partial_head(begun=phase != _HEAD)
            elif self._chunk_overhead > self.limits.chunk_overhead:
                message = "The chunks of the body carry too little content."
                self._reject(HttpRejection(400, "malformed_request", message))

    def _parse(self, data: bytes | memoryview) -> None:
        """Feed the parser; raise HttpRejection. A request for an upgrade is parsed again without the upgrade."""
        while True:
            parser = self._parser
            if parser is None:
                parser = self._parser = httptools.HttpRequestParser(self)
                # What follows a request that ends the connection is ignored, and no error.
                parser.set_dangerous_leniencies(lenient_data_after_close=True)
            try:
                parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                method = parser.get_method()
                if method == b"CONNECT":
                    raise HttpRejection(
                        400, "invalid_target", "CONNECT is not supported: this server is not a forward proxy."
                    ) from None
                head = request_head.without_upgrade(method, self.url, parser.get_http_version(), self.headers)
                data = head + bytes(data[upgrade.args[0] :])
                self._parser = None
                self._fresh_bytes = -self.limits.head_bytes
            except httptools.HttpParserCallbackError as error:
                cause = error.__context__
                if isinstance(cause, HttpRejection):
                    raise cause from None
                raise
            except httptools.HttpParserError as error:
                message = f"The request is not valid HTTP: {error}."
                raise HttpRejection(400, "malformed_request", message) from None

    def _check_partial_head(self, *, begun: bool) -> None:
        if self._head_size > self.limits.head_bytes or len(self.headers) > self.limits.headers:
            self._reject(request_head.too_large(self.limits))
        elif begun and not self._is_answering():
            self.deadline = self.loop.time() + self.limits.head_timeout

    def _reject(self, rejection: HttpRejection) -> None:
        """Answer with an error, after the requests before it, and discard all further input."""
        if self._discarding_input:
            return
        self._discarding_input = True
        faulty = self._reading if self._phase == _BODY else None
        if faulty is not None and faulty is self._answering:
            # The body of the current request is invalid: cancel the application, and send the error to the client.
            if faulty.begun:
                self.close()
                return
            faulty.client_left()
        elif self._is_answering():
            if faulty is not None and self._waiting:
                self._waiting.pop()
            exchange = Exchange(self, "GET", "1.1", False)
            self._enqueue(exchange, rejection.as_application(self.new_request_id()), {})
            return
        self.transport.write(rejection.as_bytes(self.new_request_id()))
        self._linger()

    def _linger(self) -> None:
        """Close after a delay: to close with unread input would reset the connection and lose the response."""
        self._discarding_input = True
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self.transport.write_eof()
        self.deadline = self.loop.time() + self.limits.linger
