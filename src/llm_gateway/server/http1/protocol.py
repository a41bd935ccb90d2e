"""HTTP/1.1 as uvicorn's httptools protocol speaks it, with the limits and deadlines that it lacks."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llm_gateway.server.http1 import request_head
from llm_gateway.server.http1.deadlines import NEVER
from llm_gateway.server.http1.exchange import EXTENSION, Application, Exchange
from llm_gateway.server.http1.head_cache import KnownHead, learn
from llm_gateway.server.http1.rejection import HttpRejection
from llm_gateway.server.http1.state import GatewayServerState

_HEAD_END = b"\r\n\r\n"
# Where the parser stands on a connection.
_BETWEEN, _HEAD, _BODY = range(3)
# So many heads of a connection are kept in mind, each in place of the last; then its client is taken for one
# that never says the same twice.
_LESSONS = 4


class GatewayProtocol(HttpToolsProtocol):
    """One connection.

    Beyond uvicorn's: a deadline for a request's head, limits on its size, a strict reading of `Host`, target
    and framing, errors as OpenAI's JSON, bodies that end early answered with 400, upgrades ignored with
    their body kept, and the exchange in the scope's extensions.
    """

    server_state: GatewayServerState

    def __init__(
        self,
        config: Config,
        server_state: GatewayServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take what uvicorn gives to every protocol."""
        super().__init__(config, server_state, app_state, _loop)
        self.limits = server_state.limits
        self.new_request_id = server_state.new_request_id
        # In the event loop's time; the sweep looks at it.
        self.deadline = NEVER
        # The exchange whose application runs, or the last that did; the one whose head was read last; and
        # those that wait for their turn.
        self._answering: Exchange | None = None
        self._reading: Exchange | None = None
        self._waiting: deque[tuple[Exchange, Application, dict[str, Any]]] = deque()
        self._phase = _BETWEEN
        # True when no byte that comes is looked at any more.
        self._deaf = False
        # Bytes of the head so far; negative when a part of them is not known yet.
        self._head_size = 0
        # What the next head to begin takes as its size.
        self._fresh_bytes = 0
        self._chunk_overhead = 0
        # The head that is expected to come again; what the head that was read last says, until it is learnt; and
        # how many more may be learnt.
        self._known: KnownHead | None = None
        self._lesson: dict[str, Any] | None = None
        self._lessons = _LESSONS

    # --- asyncio's side -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin; a connection that says nothing is closed at the deadline."""
        super().connection_made(transport)
        self.deadline = self.loop.time() + self.limits.head_timeout

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every exchange on this connection that its client is gone."""
        self.connections.discard(self)
        self.deadline = NEVER
        self._deaf = True
        exchanges = [self._answering, *(waiting[0] for waiting in self._waiting)]
        # They know one another: let reference counting take them apart.
        self._answering = self._reading = None
        self._waiting.clear()
        self.parser = None  # type: ignore[assignment]  # as in uvicorn
        for exchange in exchanges:
            if exchange is not None:
                exchange.leave()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse what came; large pieces in slices, so that no head grows beyond its limit unseen."""
        phase = self._phase
        known = self._known
        if known is not None and phase == _BETWEEN and not self._deaf and not self._is_answering():
            body = known.body_of(data)
            if body:
                self._take(known, body)
                return
        size = self.limits.head_bytes
        if len(data) <= size or phase == _BODY or (phase == _BETWEEN and data.find(_HEAD_END, 0, size) > 0):
            self._feed(data)
            if self._lesson is not None:
                self._learn(data, is_whole=phase == _BETWEEN == self._phase)
            return
        view = memoryview(data)
        for start in range(0, len(data), size):
            self._feed(view[start : start + size])

    def eof_received(self) -> None:
        """Take the client's half-close for its leaving; a request that it cut short is answered first."""
        if self._phase == _BODY:
            self._refuse(
                HttpRejection(400, "incomplete_body", "The connection ended before the request's body did.")
            )
        elif self._phase == _HEAD:
            self._refuse(
                HttpRejection(400, "incomplete_head", "The connection ended before the request's head did.")
            )

    def on_deadline(self) -> None:
        """Close a connection that is late; one in the middle of a head is told so."""
        self.deadline = NEVER
        if self._phase == _HEAD and not self._deaf:
            seconds = self.limits.head_timeout
            self._refuse(
                HttpRejection(
                    408, "request_timeout", f"The request's head did not arrive within {seconds:g} seconds."
                )
            )
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """Close now if nothing is being answered, else after that."""
        if self._is_answering():
            self._answering.keep_alive = False  # type: ignore[union-attr]  # it is answering
        else:
            self.transport.close()

    # --- the parser's side --------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note a request's first byte."""
        self._phase = _HEAD
        # What was not learnt from the request before is not this one's.
        self._lesson = None
        self._head_size = self._fresh_bytes
        # Requests that follow in the same piece are weighed when their head is complete.
        self._fresh_bytes = -self.limits.head_bytes
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers after a chunked body are dropped, the application has its headers."""
        if self._phase == _HEAD:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Judge the head, and start the application or put the request in line."""
        parser = self.parser
        if parser.should_upgrade():
            # It comes again, see _parse.
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
        exchange = Exchange(self, verb, version, keep_alive=keep_alive)
        exchange.expects_continue = head.expects_continue
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": verb,
            "root_path": self.root_path,
            "path": self.root_path + head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
        }
        if self._lessons and keep_alive and not head.expects_continue:
            self._lesson = scope.copy()
        scope["headers"] = headers
        scope["state"] = self.app_state.copy()
        scope["extensions"] = {EXTENSION: exchange}
        self._enter(exchange, self.app, scope)
        self._reading = exchange
        self._phase = _BODY
        self._chunk_overhead = 0

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body; what nobody will read any more is dropped."""
        self._chunk_overhead = 0
        exchange = self._reading
        if exchange is not None and not exchange.response_complete:
            exchange.feed(body)

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        exchange = self._reading
        if self._phase == _HEAD or exchange is None:
            return
        self._phase = _BETWEEN
        exchange.more_body = False
        if not exchange.response_complete:
            exchange.wake()
        elif not self._is_answering():
            self.deadline = self.loop.time() + self.limits.keep_alive

    # --- the exchanges' side ------------------------------------------------------------------------

    def on_exchange_complete(self, exchange: Exchange) -> None:
        """Go on with the next request in line, or wait for one."""
        self.server_state.total_requests += 1
        if not exchange.keep_alive:
            if self._phase == _BODY:
                self._linger()
            else:
                self.transport.close()
            return
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._waiting:
            self._answer(*self._waiting.popleft())
        else:
            limits = self.limits
            patience = limits.keep_alive if self._phase == _BETWEEN else limits.head_timeout
            self.deadline = self.loop.time() + patience

    # --- inside -------------------------------------------------------------------------------------

    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    def _enter(self, exchange: Exchange, app: Application, scope: dict[str, Any]) -> None:
        """Answer now, or after those that came before."""
        if not self._is_answering():
            self._answer(exchange, app, scope)
            return
        waiting = len(self._waiting)
        if waiting >= self.limits.pipeline and not self._deaf:
            raise HttpRejection(400, "too_many_pipelined_requests", "Too many requests wait for their turn.")
        if waiting >= self.limits.pipeline_pause:
            self.flow.pause_reading()
        self._waiting.append((exchange, app, scope))

    def _answer(self, exchange: Exchange, app: Application, scope: dict[str, Any]) -> None:
        self.deadline = NEVER
        self._answering = exchange
        task = self.loop.create_task(exchange.run(app, scope))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _take(self, known: KnownHead, body: bytes) -> None:
        """Answer a request whose head is known; the parser never sees it."""
        exchange = Exchange(self, known.verb, "1.1", keep_alive=not self.server_state.draining)
        exchange.kept = known.kept
        exchange.feed(body)
        exchange.more_body = False
        self._reading = exchange
        scope = known.scope(len(body))
        scope["state"] = self.app_state.copy()
        scope["extensions"] = {EXTENSION: exchange}
        self._answer(exchange, self.app, scope)

    def _learn(self, data: bytes, *, is_whole: bool) -> None:
        """Keep the head that was read last in mind; `is_whole` when `data` was nothing but its request."""
        lesson, self._lesson = self._lesson, None
        self._lessons -= 1
        if is_whole and lesson is not None:
            self._known = learn(data, self.headers, lesson) or self._known

    def _feed(self, data: bytes | memoryview) -> None:
        if self._deaf:
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
        except HttpRejection as refusal:
            self._refuse(refusal)
        else:
            if self._phase == _HEAD:
                self._check_partial_head(begun=phase != _HEAD)
            elif self._chunk_overhead > self.limits.chunk_overhead:
                self._refuse(
                    HttpRejection(400, "malformed_request", "The body's chunks carry too little content.")
                )

    def _parse(self, data: bytes | memoryview) -> None:
        """Feed the parser; raise Refusal. An upgrade is ignored: its request is parsed again without it."""
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                method = self.parser.get_method()
                if method == b"CONNECT":
                    raise HttpRejection(
                        400, "invalid_target", "CONNECT is for forward proxies; this is not one."
                    ) from None
                head = request_head.without_upgrade(
                    method, self.url, self.parser.get_http_version(), self.headers
                )
                data = head + bytes(data[upgrade.args[0] :])
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
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
            self._refuse(request_head.too_large(self.limits))
        elif begun and not self._is_answering():
            self.deadline = self.loop.time() + self.limits.head_timeout

    def _refuse(self, refusal: HttpRejection) -> None:
        """Answer with an error in its turn, and listen to nothing more."""
        if self._deaf:
            return
        self._deaf = True
        faulty = self._reading if self._phase == _BODY else None
        if faulty is not None and faulty is self._answering:
            # Its own body is at fault: the application learns that nobody listens, the client why.
            if faulty.begun:
                self.transport.close()
                return
            faulty.leave()
        elif self._is_answering():
            if faulty is not None:
                self._waiting.pop()
            exchange = Exchange(self, "GET", "1.1", keep_alive=False)
            self._enter(exchange, refusal.as_application(self.new_request_id()), {})
            return
        self.transport.write(refusal.as_bytes(self.new_request_id()))
        self._linger()

    def _linger(self) -> None:
        """Close after the client had the time to read: a close with bytes unread would reset the connection."""
        self._deaf = True
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self.transport.write_eof()
        self.deadline = self.loop.time() + self.limits.linger
