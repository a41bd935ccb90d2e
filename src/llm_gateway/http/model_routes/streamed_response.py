"""Sends the stream that answers a direct request, without a task while the client and the provider keep up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from llm_gateway.flow.call import Call
from llm_gateway.flow.ports.dialect import Dialect
from llm_gateway.flow.ports.upstream import ChunkSink
from llm_gateway.flow.request.reply import Reply
from llm_gateway.flow.request.streaming.direct_stream import DirectStream
from llm_gateway.http.errors import as_gateway_error
from llm_gateway.http.model_routes.delivery import Delivery
from llm_gateway.http.model_routes.responding import stream_headers
from llm_gateway.http.types import Exchange, Receive, Scope, Send


class StreamedResponse(msgspec.Struct):
    """The response to one direct request, from its head to its end.

    It is a `ReplyListener`, told when relaying ends, and when something arrives after it. Where something has to be
    waited for, or is unusual, a task goes on. It is made by position.
    """

    # What a client and a provider sent must not appear in logs and tracebacks by accident.
    __repr__ = object.__repr__

    _delivery: Delivery
    # That of the route.
    _dialect: Dialect
    _call: Call
    _exchange: Exchange
    _stream: DirectStream
    _sink: ChunkSink | None = None
    _is_relaying: bool = False

    def begin(self) -> None:
        """Send the head and the first bytes, and relay what follows. Does not raise."""
        exchange, stream = self._exchange, self._stream
        try:
            head = exchange.stream_head(stream_headers(self._dialect, stream, self._call.request_id))
            first = None if head is None else stream.first_nowait()
            if head is None or first is None:
                self._go_on(self._send_all)
                return
            data, last = first
            sink = exchange.write_stream(head, data, last)
        except Exception as fault:  # noqa: BLE001 - answered like any other
            self._go_on(self._send_all, fault)
            return
        if last is not None:
            self._delivery.leave(self._call)
            return
        exchange.on_disconnect = self._client_left
        self._sink = sink
        try:
            if sink is not None and stream.begin_relay(sink, self):
                self._is_relaying = True
                return
        except Exception as fault:  # noqa: BLE001 - the client must not take the stream for complete
            self._go_on(self._send_rest, fault)
            return
        self._end()

    def on_event(self, on_time: bool, /) -> None:
        if self._is_relaying:
            self._is_relaying = False
            self._stream.end_relay(on_time=on_time)
        else:
            try:
                self._stream.arrived(on_time=on_time)
            except Exception as fault:  # noqa: BLE001 - as in `begin`
                self._go_on(self._send_rest, fault)
                return
        self._end()

    def _end(self) -> None:
        """Send the end of a stream that has ended well, or wait for it; let a task go on with any other."""
        sink = self._sink
        try:
            if sink is not None and sink.open:
                ended = self._stream.last_nowait()
                if ended is not None:
                    events, last = ended
                    self._exchange.write_stream(b"", events, last)
                    self._delivery.leave(self._call)
                    return
                if self._stream.listen(self):
                    return
        except Exception as fault:  # noqa: BLE001 - as in `begin`
            self._go_on(self._send_rest, fault)
            return
        self._go_on(self._send_rest)

    def _client_left(self) -> None:
        """End a stream that is relayed, because its client has left or this process stops."""
        self._exchange.unregister()
        self._stream.end_relay(on_time=True)
        self._stream.close()
        self._delivery.leave(self._call)

    def _go_on(
        self, rest: Callable[[Send, Exception | None], Awaitable[None]], fault: Exception | None = None
    ) -> None:
        self._exchange.unregister()
        is_running = False

        async def run(_scope: Scope, _receive: Receive, send: Send) -> None:
            nonlocal is_running
            is_running = True
            await rest(send, fault)

        def ended(_task: object) -> None:
            if not is_running:
                # It was cancelled before it began.
                self._stream.close()
                self._delivery.leave(self._call)

        self._exchange.run_in_task(run, ended)

    async def _send_all(self, send: Send, fault: Exception | None) -> None:
        await self._delivery.deliver(self._call, self._dialect, self._exchange, send, self._answer(fault))

    async def _send_rest(self, send: Send, fault: Exception | None) -> None:
        await self._delivery.deliver_rest(self._call, self._exchange, send, self._stream, fault)

    async def _answer(self, fault: Exception | None) -> Reply:
        stream = self._stream
        if fault is None:
            return stream
        try:
            error = as_gateway_error(fault, self._call.request_id)
            await stream.fail(error, begun=False)
            raise error from None
        finally:
            stream.close()
            del fault
