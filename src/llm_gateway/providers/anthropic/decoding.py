"""Translates unary replies of the Messages API, and converts them to the events of an equivalent stream."""

from __future__ import annotations

from collections.abc import Iterator

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.anthropic.finish import finish_reason, refusal_text
from llm_gateway.providers.anthropic.thinking import THINKING, detail_of
from llm_gateway.providers.base import Completion
from llm_gateway.wire.anthropic_messages.messages import (
    UNREADABLE,
    Block,
    Event,
    Opening,
    Reply,
    WireDelta,
    decode_reply,
    usage_from_wire,
)
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.reply_writer import Delta, FunctionCallDelta, ReplyWriter, ToolCallDelta
from llm_gateway.wire.raw_json import JsonObject


def read_reply(body: bytes) -> Reply:
    """Decode a unary reply; raise BadReply if the body is not a message."""
    try:
        return decode_reply(body)
    except UNREADABLE:
        message = "the provider's reply is not a message"
        raise BadReply(message) from None


def completion_of(reply: Reply, request: ModelRequest) -> Completion:
    """Translate a message to OpenAI's reply for the request's endpoint."""
    delta = _delta_of(reply)
    delta.refusal = refusal_text(reply.stop_reason, reply.stop_details)
    if is_empty(delta):
        delta.content = ""
    usage = usage_from_wire(reply.usage)
    writer = ReplyWriter(request, reply_id=reply.id, model=reply.model)
    return Completion(body=writer.whole(delta, finish_reason(reply.stop_reason), usage), usage=usage)


def is_empty(delta: Delta) -> bool:
    """Tell whether a delta has no text, refusal or calls; `content` is then the empty string instead of null."""
    return delta.content is None and delta.refusal is None and delta.tool_calls is None


def events_of(reply: Reply) -> Iterator[Event]:
    """Yield the events of a stream that carries the message, each block in one event."""
    yield Event("message_start", message=Opening(reply.id, reply.model, reply.usage))
    for index, block in enumerate(reply.content):
        yield Event("content_block_start", index=index, content_block=block)
        yield Event("content_block_stop", index=index)
    delta = WireDelta(stop_reason=reply.stop_reason or "end_turn", stop_details=reply.stop_details)
    yield Event("message_delta", delta=delta, usage=reply.usage)
    yield Event("message_stop")


def call_of(block: Block, index: int, arguments: str) -> ToolCallDelta:
    """Return the first delta of a tool call; `index` numbers the calls of the message from 0."""
    function = FunctionCallDelta(name=block.name or "", arguments=arguments)
    return ToolCallDelta(index=index, id=block.id or "", type="function", function=function)


def _delta_of(reply: Reply) -> Delta:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCallDelta] = []
    details: list[JsonObject] = []
    for block in reply.content:
        if block.type == "text" and block.text:
            texts.append(block.text)
        elif block.type == "tool_use":
            calls.append(call_of(block, len(calls), bytes(block.input).decode()))
        elif block.type in THINKING:
            after = sum(map(len, texts))
            place = {"index": len(details), "after_text": after, "after_calls": len(calls)}
            details.append(detail_of(block, reply.model, **place))
            if block.thinking:
                thoughts.append(block.thinking)
    return Delta(
        content="".join(texts) or None,
        reasoning_content="".join(thoughts) or None,
        tool_calls=calls or None,
        reasoning_details=details or None,
    )
