"""Translates unary replies of the Messages API, and converts them to the events of an equivalent stream."""

from __future__ import annotations

from collections.abc import Iterator

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.anthropic.errors import error_body_from
from llm_gateway.providers.anthropic.finish import (
    BROKEN_ANSWER,
    finish_reason,
    is_given,
    refusal_text,
    reports_failure,
)
from llm_gateway.providers.anthropic.thinking import THINKING, detail_of
from llm_gateway.providers.base import Completion, UpstreamErrorBody
from llm_gateway.wire.anthropic_messages.messages import (
    UNREADABLE,
    Block,
    Event,
    Opening,
    Reply,
    WireDelta,
    decode_reply,
)
from llm_gateway.wire.anthropic_messages.usage import usage_from_wire
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.reply_writer import (
    Delta,
    FunctionCallDelta,
    ReplyWriter,
    ToolCallDelta,
    is_empty,
)
from llm_gateway.wire.raw_json import JsonObject, says_nothing


def read_reply(body: bytes) -> Reply:
    """Decode a unary reply; raise BadReply if the body is not a message."""
    try:
        return decode_reply(body)
    except UNREADABLE:
        message = "the provider's reply is not a message"
        raise BadReply(message) from None


def failure_of(reply: Reply, body: bytes) -> UpstreamErrorBody | None:
    """Return the failure that a reply reports; None if it is an answer. Raise BadReply if it is neither."""
    if reply.type == "error" or not says_nothing(reply.error):
        return error_body_from(body)
    if reports_failure(reply.stop_reason):
        return BROKEN_ANSWER
    if reply.content is None or not (is_given(reply.stop_reason) or any(map(_says_something, reply.content))):
        message = "the provider's reply contains no answer"
        raise BadReply(message)
    return None


def _says_something(block: Block) -> bool:
    return bool(block.text or block.thinking or block.data) or block.type == "tool_use"


def completion_of(body: bytes, request: ModelRequest) -> Completion:
    """Translate a message to OpenAI's reply for the request's endpoint; raise BadReply if it is no answer."""
    reply = read_reply(body)
    if (failure := failure_of(reply, body)) is not None:
        return Completion(body=body, usage=None, refusal=failure)
    delta = _delta_of(reply)
    delta.refusal = refusal_text(reply.stop_reason, reply.stop_details)
    if is_empty(delta):
        delta.content = ""
    usage = usage_from_wire(reply.usage)
    writer = ReplyWriter(request, reply_id=reply.id, model=reply.model)
    return Completion(body=writer.whole(delta, finish_reason(reply.stop_reason), usage), usage=usage)


def events_of(reply: Reply) -> Iterator[Event]:
    """Yield the events of a stream that carries the message, each block in one event."""
    yield Event("message_start", message=Opening(reply.id, reply.model, reply.usage))
    for index, block in enumerate(reply.content or ()):
        yield Event("content_block_start", index=index, content_block=block)
        yield Event("content_block_stop", index=index)
    # As in a unary reply, a missing stop reason means a normal end.
    stop_reason = reply.stop_reason if is_given(reply.stop_reason) else "end_turn"
    delta = WireDelta(stop_reason=stop_reason, stop_details=reply.stop_details)
    yield Event("message_delta", delta=delta, usage=reply.usage)
    yield Event("message_stop")


def call_of(block: Block, index: int, arguments: str) -> ToolCallDelta:
    """Return the first delta of a tool call; `index` numbers the calls of the message from 0.

    Raise BadReply for a call without a name, which no client can make.
    """
    if not block.name:
        message = "a tool call in the provider's reply has no name"
        raise BadReply(message)
    function = FunctionCallDelta(name=block.name, arguments=arguments)
    return ToolCallDelta(index=index, id=block.id or f"call_{index}", type="function", function=function)


def arguments_of(block: Block) -> str:
    """Return the JSON object of a tool call's arguments; `{}` if it has none."""
    given = bytes(block.input)
    return given.decode() if given.startswith(b"{") else "{}"


def _delta_of(reply: Reply) -> Delta:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCallDelta] = []
    details: list[JsonObject] = []
    characters = 0
    for block in reply.content or ():
        if block.text and block.type != "tool_use" and block.type not in THINKING:
            texts.append(block.text)
            characters += len(block.text)
        elif block.type == "tool_use":
            calls.append(call_of(block, len(calls), arguments_of(block)))
        elif block.type in THINKING:
            place = {"index": len(details), "after_text": characters, "after_calls": len(calls)}
            details.append(detail_of(block, reply.model, **place))
            if block.thinking:
                thoughts.append(block.thinking)
    return Delta(
        content="".join(texts) or None,
        reasoning_content="".join(thoughts) or None,
        tool_calls=calls or None,
        reasoning_details=details or None,
    )
