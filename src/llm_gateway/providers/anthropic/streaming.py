"""Translates the event stream of the Messages API to OpenAI's chunks."""

from __future__ import annotations

import msgspec

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.anthropic.decoding import call_of, events_of, is_empty, read_reply
from llm_gateway.providers.anthropic.errors import error_body_from
from llm_gateway.providers.anthropic.finish import finish_reason, refusal_text
from llm_gateway.providers.anthropic.thinking import THINKING, detail_of
from llm_gateway.providers.translating.stream import TranslatedStream
from llm_gateway.wire.anthropic_messages.messages import (
    UNREADABLE,
    Block,
    Event,
    WireDelta,
    WireUsage,
    decode_event,
    decode_kind,
    usage_from_wire,
)
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.reply_writer import Delta, FunctionCallDelta, ToolCallDelta

_KNOWN = frozenset(
    {
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop", "ping", "error",
    }
)  # fmt: skip
_PING = b": ping\n\n"


class AnthropicStream(TranslatedStream):
    """Translates one streamed message, whose blocks arrive one after another."""

    def __init__(self, request: ModelRequest, *, event_limit: int) -> None:
        super().__init__(request, event_limit=event_limit)
        self._block = Block("")
        self._thoughts: list[str] = []
        self._has_arguments = False
        # Counts of what was relayed so far; they give the position of thinking in the message.
        self._characters = 0
        self._calls = 0
        self._details = 0
        self._counts = WireUsage()

    def take(self, data: bytes) -> bytes:
        """Translate one event; unknown types are skipped, as the API's documentation asks."""
        try:
            event = decode_event(data)
        except UNREADABLE:
            if _is_unknown(data):
                return b""
            message = "an event of the provider's stream cannot be read"
            raise BadReply(message) from None
        if event.type == "error":
            self.refusal = error_body_from(data)
            return b""
        return self._translate(event)

    def take_whole(self, body: bytes) -> bytes:
        return b"".join([self._translate(event) for event in events_of(read_reply(body))])

    def _translate(self, event: Event) -> bytes:
        if event.type == "content_block_delta":
            return self._continue_block(event.delta or WireDelta())
        if event.type == "content_block_start" and event.content_block is not None:
            return self._begin_block(event.content_block)
        if event.type == "content_block_stop":
            return self._end_block()
        if event.type == "message_start" and event.message is not None:
            self.writer.reply_id, self.writer.model = event.message.id, event.message.model
            self._counts = event.message.usage or self._counts
            return self.writer.chunk(Delta(role="assistant"))
        if event.type == "message_delta":
            return self._finish(event.delta or WireDelta(), event.usage)
        if event.type == "message_stop":
            # Without a stop reason before it, the stream counts as truncated.
            self.done = self.finished
        return _PING if event.type == "ping" else b""

    def _begin_block(self, block: Block) -> bytes:
        self._block = block
        self._thoughts.clear()
        self._has_arguments = False
        if block.type == "tool_use":
            return self._emit(Delta(tool_calls=[call_of(block, self._calls, "")]))
        whole = WireDelta(text=block.text, thinking=block.thinking)
        block.text = block.thinking = None
        return self._continue_block(whole)

    def _continue_block(self, delta: WireDelta) -> bytes:
        block = self._block
        if delta.text:
            self._characters += len(delta.text)
            return self._emit(Delta(content=delta.text))
        if delta.thinking:
            self._thoughts.append(delta.thinking)
            return self._emit(Delta(reasoning_content=delta.thinking))
        if delta.signature:
            block.signature = (block.signature or "") + delta.signature
        if delta.partial_json and block.type == "tool_use":
            self._has_arguments = True
            return self._arguments(delta.partial_json)
        return b""

    def _arguments(self, text: str) -> bytes:
        call = ToolCallDelta(index=self._calls, function=FunctionCallDelta(arguments=text))
        return self._emit(Delta(tool_calls=[call]))

    def _end_block(self) -> bytes:
        block, self._block = self._block, Block("")
        if block.type == "tool_use":
            # A call without arguments may have no `input_json_delta`.
            rest = b"" if self._has_arguments else self._arguments(bytes(block.input).decode())
            self._calls += 1
            return rest
        if block.type not in THINKING:
            return b""
        block.thinking = "".join(self._thoughts)
        model = self.writer.model
        detail = detail_of(
            block, model, index=self._details, after_text=self._characters, after_calls=self._calls
        )
        self._details += 1
        return self._emit(Delta(reasoning_details=[detail]))

    def _finish(self, delta: WireDelta, usage: WireUsage | None) -> bytes:
        if usage is not None:
            self._counts = self._counts.updated(usage)
            self.usage = usage_from_wire(self._counts)
        if delta.stop_reason is None or self.finished:
            return b""
        last = Delta(refusal=refusal_text(delta.stop_reason, delta.stop_details))
        if is_empty(last) and not self._characters and not self._calls:
            last.content = ""
        self.finished = self.content_seen = True
        out = self.writer.chunk(last, finish_reason(delta.stop_reason))
        return out if self.usage is None else out + self.writer.usage(self.usage)

    def _emit(self, delta: Delta) -> bytes:
        out = self.writer.chunk(delta)
        # The legacy endpoint has no chunk for thinking and calls.
        self.content_seen = self.content_seen or bool(out)
        return out


def _is_unknown(data: bytes) -> bool:
    try:
        return decode_kind(data).type not in _KNOWN
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
