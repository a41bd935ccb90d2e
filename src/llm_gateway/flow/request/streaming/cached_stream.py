"""Records streams for the reply cache, and replays cached ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from llm_gateway.core.errors import GatewayError
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.meter import CLIENT_LEFT, Meter
from llm_gateway.flow.accounting.reply_facts import MeteredReply
from llm_gateway.flow.ports.dialect import Dialect, Headers
from llm_gateway.flow.reply_cache.entry import CachedReply
from llm_gateway.flow.request.reply import StreamReply
from llm_gateway.flow.request.usage_cost import UsageCostEncoder

_OK = 200


class RecordingStream:
    """A stream that passes its canonical events to `store` at its end, if they have at most `limit` bytes."""

    __slots__ = ("_pieces", "_room", "_store", "_stream", "headers")

    def __init__(self, stream: StreamReply, store: Callable[[bytes], Awaitable[None]], limit: int) -> None:
        self.headers: Headers = stream.headers
        self._stream = stream
        self._store = store
        self._pieces: list[bytes] = []
        self._room = limit
        stream.recorder = self._record

    async def next(self) -> tuple[bytes, bool]:
        """Return the next bytes, and whether they are the last; the stream is stored before the last are returned."""
        data, last = await self._stream.next()
        if last and self._room >= 0:
            await self._store(b"".join(self._pieces))
        return data, last

    async def relay(self, sink: Callable[[bytes], bool]) -> None:
        await self._stream.relay(sink)

    async def fail(self, error: GatewayError, *, begun: bool) -> bytes:
        return await self._stream.fail(error, begun=begun)

    def close(self) -> None:
        self._pieces.clear()
        self._stream.close()

    def _record(self, events: bytes) -> None:
        self._room -= len(events)
        if self._room < 0:
            self._pieces.clear()
        else:
            self._pieces.append(events)


class ReplayedStream:
    """A cached stream, sent to a client in one piece."""

    __slots__ = ("_dialect", "_facts", "_meter", "_reply", "_request", "headers")

    def __init__(
        self,
        reply: CachedReply,
        request: ModelRequest,
        dialect: Dialect,
        meter: Meter,
        facts: MeteredReply,
    ) -> None:
        self._facts = facts
        self._reply = reply
        self._request = request
        self._dialect = dialect
        self._meter = meter
        self.headers: Headers = ()

    async def next(self) -> tuple[bytes, bool]:
        """Return the whole stream."""
        self._meter.first_content()
        encoder = self._dialect.open_stream(self._request, None)
        if self._meter.shows_cost:
            encoder = UsageCostEncoder(self._dialect, encoder)
        if encoder is None:
            body = self._reply.body + self._dialect.stream_end
        else:
            body = encoder.feed(self._reply.body) + encoder.end(self._facts)
        self._meter.response_bytes = len(body)
        self._meter.report("ok", _OK, usage=self._reply.usage)
        return body, True

    async def relay(self, sink: Callable[[bytes], bool]) -> None:
        """Return at once: `next` sends everything."""

    async def fail(self, error: GatewayError, *, begun: bool) -> bytes:
        """Report a stream that could not be encoded; nothing has been sent."""
        if not (begun or self._meter.reported):
            self._meter.refuse(error)
        return b""

    def close(self) -> None:
        """Report an aborted request if the stream was not sent."""
        if not self._meter.reported:
            self._meter.abort(CLIENT_LEFT)
