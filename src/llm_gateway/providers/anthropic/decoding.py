"""Reads whole messages of the Messages API: as one reply, or as the events that a stream would have had."""

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
    """Return the message; raise BadReply when the body is none."""
    try:
        return decode_reply(body)
    except UNREADABLE:
        message = "the provider's reply is not a message"
        raise BadReply(message) from None


def completion_of(reply: Reply, request: ModelRequest) -> Completion:
    """Return the message as OpenAI's reply to a request."""
    said = _said(reply)
    said.refusal = refusal_text(reply.stop_reason, reply.stop_details)
    if says_nothing(said):
        said.content = ""
    usage = usage_from_wire(reply.usage)
    writer = ReplyWriter(request, reply_id=reply.id, model=reply.model)
    return Completion(body=writer.whole(said, finish_reason(reply.stop_reason), usage), usage=usage)


def says_nothing(said: Delta) -> bool:
    """Tell whether a client would find neither words nor calls: it gets an empty text then."""
    return said.content is None and said.refusal is None and said.tool_calls is None


def events_of(reply: Reply) -> Iterator[Event]:
    """Yield the message as a stream's events, each block in one piece."""
    yield Event("message_start", message=Opening(reply.id, reply.model, reply.usage))
    for index, block in enumerate(reply.content):
        yield Event("content_block_start", index=index, content_block=block)
        yield Event("content_block_stop", index=index)
    delta = WireDelta(stop_reason=reply.stop_reason or "end_turn", stop_details=reply.stop_details)
    yield Event("message_delta", delta=delta, usage=reply.usage)
    yield Event("message_stop")


def call_of(block: Block, index: int, arguments: str) -> ToolCallDelta:
    """Return a call as it begins."""
    function = FunctionCallDelta(name=block.name or "", arguments=arguments)
    return ToolCallDelta(index=index, id=block.id or "", type="function", function=function)


def _said(reply: Reply) -> Delta:
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
