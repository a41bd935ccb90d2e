"""Reads the beginning of a streamed reply, until its first content: the commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import msgspec

from llm_gateway.core.json_bounds import LARGE
from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.failures.recovery import AttemptFailed
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.upstream import OversizedReply, SilentProvider, TransportError, UpstreamReply
from llm_gateway.flow.request.reply_values import check_values
from llm_gateway.providers.base import Adapter, ReplyStream, UpstreamErrorBody
from llm_gateway.wire.errors import BadReply

# How a stream begins (data, event, id, retry, or a comment), and how a reply in JSON.
_STREAM_STARTS = frozenset({b"d", b"e", b"i", b"r", b":"})
_JSON_STARTS = (b"{", b"[")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class UncommittedStream(msgspec.Struct):
    """The beginning of one streamed reply. Its first events are held back until one has content.

    It is made by position.
    """

    # What a client and a provider sent must not appear in logs and tracebacks by accident.
    __repr__ = object.__repr__

    _gateway: Gateway
    _request: ModelRequest
    _adapter: Adapter
    reply: UpstreamReply
    reader: ReplyStream
    # Until when the first content must arrive.
    _deadline: float
    # Makes the error of a stream that reports one.
    _failed: Callable[[UpstreamErrorBody], AttemptFailed]

    # Events that were read, and until when they may be held back; None = nothing is.
    _held: list[bytes] = []
    _hold_until: float | None = None
    # The body is not JSON.
    _is_stream: bool = False
    # What `take` has left to `read`: bytes, and an error.
    _unread: bytes = b""
    _error: Exception | None = None

    async def read(self) -> bytes:
        """Return the events until the first one with content, or those of COMMIT_HOLD seconds."""
        reader = self.reader
        if self._error is not None:
            self._raise(self._error)
        while not reader.content_seen and not reader.done:
            data, self._unread = self._unread or await self._next(), b""
            if data is None:
                break
            if data and not self._is_stream:
                # The content type does not tell: some servers name any type.
                data = _without_prelude(data)
                if data.startswith(_JSON_STARTS) and not reader.json_lines:
                    return await self._one_chunk(data)
                if not data:
                    continue
                self._is_stream = True
            self._feed(data)
            if not data:
                break
        return self.held()

    def take(self, data: bytes) -> bool:
        """Read bytes that have arrived, as `read` does; return False where only `read` can go on. Does not raise."""
        if not self._is_stream:
            if data[:1] not in _STREAM_STARTS:
                begun = _without_prelude(data)
                if begun.startswith(_JSON_STARTS) and not self.reader.json_lines:
                    self._unread = data
                    return False
                if not begun:
                    return True
                data = begun
            self._is_stream = True
        reader = self.reader
        try:
            # As `_feed` does, without its frame.
            out = reader.feed(data)
            if reader.refusal is not None:
                self._error = self._failed(reader.refusal)
                return False
        except Exception as error:  # noqa: BLE001 - raised by `read`
            # Its traceback holds this frame.
            self._error = error.with_traceback(None)
            return False
        if out:
            self._held.append(out)
            if self._hold_until is None and not reader.content_seen:
                self._hold_until = self._gateway.clock.monotonic() + self._gateway.options.commit_hold
        return True

    def timed_out(self) -> None:
        """Take note that nothing has arrived in the time that `time_left` returned."""
        if self._hold_until is None or self._deadline < self._hold_until:
            self._error = SilentProvider()

    def held(self) -> bytes:
        """Return the events that were read."""
        held = self._held
        return held[0] if len(held) == 1 else b"".join(held)

    def time_left(self) -> float:
        """Return how many seconds are left for the next bytes."""
        until = self._deadline if self._hold_until is None else min(self._deadline, self._hold_until)
        return until - self._gateway.clock.monotonic()

    def _feed(self, data: bytes) -> None:
        reader = self.reader
        out = reader.feed(data) if data else reader.end()
        if reader.refusal is not None:
            raise self._failed(reader.refusal)
        if not data and _is_empty(reader):
            raise TransportError("cut", "the provider's stream ended before it began")
        if out:
            self._held.append(out)
            if self._hold_until is None and not reader.content_seen:
                self._hold_until = self._gateway.clock.monotonic() + self._gateway.options.commit_hold

    def _raise(self, error: Exception) -> NoReturn:
        self._error = None
        try:
            raise error
        finally:
            # Its traceback holds this frame, which must not hold it.
            del error

    async def _next(self) -> bytes | None:
        """Return the next bytes; None when events were held back for long enough."""
        hold_until = self._hold_until
        until = self._deadline if hold_until is None else min(self._deadline, hold_until)
        left = until - self._gateway.clock.monotonic()
        try:
            if left <= 0:
                # Frequent comments keep single reads from timing out.
                raise TransportError("timeout", "no content in time")
            return await self.reply.read(left)
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
        body = begun + await self.reply.read_all(limit, left)
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
