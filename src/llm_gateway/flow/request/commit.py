"""Reads the beginning of a streamed reply, until its first content: the commit."""

from __future__ import annotations

from collections.abc import Callable

from llm_gateway.core.json_bounds import LARGE
from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.failures.recovery import AttemptFailed
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.upstream import OversizedReply, TransportError, UpstreamReply
from llm_gateway.flow.request.reply_values import check_values
from llm_gateway.providers.base import Adapter, ReplyStream, UpstreamErrorBody
from llm_gateway.wire.errors import BadReply

# How a stream begins (data, event, id, retry, or a comment), and how a reply in JSON.
_STREAM_STARTS = frozenset({b"d", b"e", b"i", b"r", b":"})
_JSON_STARTS = (b"{", b"[")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class UncommittedStream:
    """The beginning of one streamed reply. Its first events are held back until one has content."""

    __slots__ = ("_adapter", "_deadline", "_failed", "_gateway", "_reply", "_request", "reader")

    def __init__(
        self,
        gateway: Gateway,
        request: ModelRequest,
        adapter: Adapter,
        reply: UpstreamReply,
        deadline: float,
        failed: Callable[[UpstreamErrorBody], AttemptFailed],
    ) -> None:
        """The first content must arrive before `deadline`; `failed` makes the error of a stream that reports one."""
        self._gateway = gateway
        self._request = request
        self._adapter = adapter
        self._reply = reply
        self._deadline = deadline
        self._failed = failed
        self.reader: ReplyStream = adapter.stream(request, event_limit=gateway.options.max_event_bytes)

    async def read(self) -> bytes:
        """Return the events until the first one with content, or those of COMMIT_HOLD seconds."""
        reader = self.reader
        held: list[bytes] = []
        hold_until: float | None = None
        is_stream = False
        while not reader.content_seen and not reader.done:
            data = await self._next(hold_until)
            if data is None:
                break
            if data and not is_stream:
                # The content type does not tell: some servers name any type.
                data = _without_prelude(data)
                if data.startswith(_JSON_STARTS) and not reader.json_lines:
                    return await self._one_chunk(data)
                if not data:
                    continue
                is_stream = True
            out = reader.feed(data) if data else reader.end()
            if reader.refusal is not None:
                raise self._failed(reader.refusal)
            if not data and _is_empty(reader):
                raise TransportError("cut", "the provider's stream ended before it began")
            if out:
                held.append(out)
                if hold_until is None:
                    hold_until = self._gateway.clock.monotonic() + self._gateway.options.commit_hold
            if not data:
                break
        return b"".join(held)

    async def _next(self, hold_until: float | None) -> bytes | None:
        """Return the next bytes; None when events were held back for long enough."""
        until = self._deadline if hold_until is None else min(self._deadline, hold_until)
        left = until - self._gateway.clock.monotonic()
        try:
            if left <= 0:
                # Frequent comments keep single reads from timing out.
                raise TransportError("timeout", "no content in time")
            return await self._reply.read(left)
        except TransportError as fault:
            if fault.kind == "timeout" and hold_until is not None and until == hold_until:
                return None
            raise

    async def _one_chunk(self, begun: bytes) -> bytes:
        """Convert a JSON reply to a streamed request, which starts with `begun`, into the events of a stream."""
        limit = self._gateway.options.max_reply_bytes - len(begun)
        if limit < 0:
            raise OversizedReply
        left = max(self._deadline - self._gateway.clock.monotonic(), 0.0)
        body = begun + await self._reply.read_all(limit, left)
        if len(body) < LARGE:
            out = self.reader.whole(body)
        else:
            await check_values(self._request, body)
            out = await self._gateway.heavy_work.run(self.reader.whole, body)
        if self.reader.refusal is not None:
            failed = self._failed(self.reader.refusal)
            failed.state_usage(self._stated_in(body))
            raise failed
        return out

    def _stated_in(self, body: bytes) -> Usage | StatedUsage | None:
        """Return what a JSON reply to a streamed request states, although it is a failure."""
        if len(body) >= LARGE:
            return None
        try:
            return self._adapter.decode(body, self._request).usage
        except BadReply:
            return None


def _without_prelude(data: bytes) -> bytes:
    """Return the first bytes of a body without blank lines, which some servers send while they wait for the model."""
    if data[:1] in _STREAM_STARTS:
        return data
    return data.lstrip().removeprefix(_BYTE_ORDER_MARK).lstrip()


def _is_empty(reader: ReplyStream) -> bool:
    return not (reader.content_seen or reader.done)
