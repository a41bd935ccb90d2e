"""Translates the event stream of the Messages API to OpenAI's chunks."""

from __future__ import annotations

from collections.abc import Sequence

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.anthropic.blocks import OpenBlocks
from llm_gateway.providers.anthropic.decoding import events_of, failure_of, read_reply
from llm_gateway.providers.anthropic.errors import error_body_from
from llm_gateway.providers.anthropic.finish import (
    BROKEN_ANSWER,
    finish_reason,
    is_given,
    refusal_text,
    reports_failure,
)
from llm_gateway.providers.translating.stream import TranslatedStream
from llm_gateway.wire.anthropic_messages.messages import (
    UNREADABLE,
    Event,
    WireDelta,
    decode_event,
)
from llm_gateway.wire.anthropic_messages.usage import WireUsage, usage_from_wire
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.reply_writer import Delta, is_empty
from llm_gateway.wire.raw_json import says_nothing
from llm_gateway.wire.token_counts import OddObject


class AnthropicStream(TranslatedStream):
    """Translates one streamed message."""

    def __init__(self, request: ModelRequest, *, event_limit: int) -> None:
        super().__init__(request, event_limit=event_limit)
        self._blocks = OpenBlocks(limit=event_limit)
        self._counts = WireUsage()

    def take(self, data: bytes) -> bytes:
        """Translate one event; unknown types are skipped, as the API's documentation asks."""
        try:
            event = decode_event(data)
        except UNREADABLE:
            message = "an event of the provider's stream cannot be read"
            raise BadReply(message) from None
        if event.type == "error" or not says_nothing(event.error):
            self.refusal = error_body_from(data)
            return b""
        # A server may send the whole message as one event.
        return self.take_whole(data) if event.type == "message" else self._translate(event)

    def take_whole(self, body: bytes) -> bytes:
        reply = read_reply(body)
        self.refusal = failure_of(reply, body)
        if self.refusal is not None:
            return b""
        return b"".join([self._translate(event) for event in events_of(reply)])

    def _translate(self, event: Event) -> bytes:
        blocks, model = self._blocks, self.writer.model
        if event.type == "content_block_delta":
            return self._emit(blocks.extend(event.index, event.delta or WireDelta()))
        if event.type == "content_block_start" and event.content_block is not None:
            return self._emit(blocks.begin(event.index, event.content_block, model))
        if event.type == "content_block_stop":
            return self._emit(blocks.end(event.index, model))
        if event.type == "message_start" and event.message is not None:
            self.writer.reply_id, self.writer.model = event.message.id, event.message.model
            self._count(event.message.usage)
            # The output was not written yet, whatever is stated of it.
            self._outdate_count()
            return self.writer.chunk(Delta(role="assistant"))
        if event.type == "message_delta":
            return self._finish(event.delta or WireDelta(), event.usage)
        if event.type == "message_stop":
            # Without a stop reason before it, the stream counts as truncated.
            self.done = self.finished
        return b""

    def _count(self, usage: WireUsage | OddObject) -> None:
        self._counts = self._counts.updated(usage)
        self.usage = usage_from_wire(self._counts)

    def _outdate_count(self) -> None:
        self._counts = self._counts.outdated()
        self.usage = usage_from_wire(self._counts)

    def _finish(self, delta: WireDelta, usage: WireUsage | OddObject) -> bytes:
        self._count(usage)
        if not is_given(delta.stop_reason) or self.finished:
            return b""
        if reports_failure(delta.stop_reason):
            self.refusal = BROKEN_ANSWER
            return b""
        rest = self._emit(self._blocks.end_all(self.writer.model))
        last = Delta(refusal=refusal_text(delta.stop_reason, delta.stop_details))
        if is_empty(last) and not self._blocks.characters and not self._blocks.calls:
            last.content = ""
        self.finished = self.content_seen = True
        out = rest + self.writer.chunk(last, finish_reason(delta.stop_reason))
        return out + self.writer.usage(self.usage)

    def _emit(self, deltas: Sequence[Delta]) -> bytes:
        if self._counts.output_tokens is not None and any(not is_empty(delta) for delta in deltas):
            self._outdate_count()
        out = b"".join([self.writer.chunk(delta) for delta in deltas])
        # The legacy endpoint has no chunk for thinking and calls.
        self.content_seen = self.content_seen or bool(out)
        return out
