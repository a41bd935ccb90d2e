"""The Responses API's replies that the gateway reads, and a whole response written as a stream's events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.usage import CompletionDetails, PromptDetails, WireUsage, usage_from_wire

_encode = msgspec.json.Encoder().encode
_ENDS = {"completed": "response.completed", "incomplete": "response.incomplete", "failed": "response.failed"}


class ResponsesUsage(msgspec.Struct, gc=False):
    """`usage` of a response."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: PromptDetails | None = None
    output_tokens_details: CompletionDetails | None = None


class WireResponse(msgspec.Struct, gc=False):
    """A whole response, or the one in the last event of a stream."""

    status: str | None = None
    usage: ResponsesUsage | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


decode_response = msgspec.json.Decoder(WireResponse).decode


def responses_usage(wire: ResponsesUsage | None) -> Usage | None:
    """Return the usage, or None if the counts are missing or implausible."""
    if wire is None:
        return None
    return usage_from_wire(
        WireUsage(
            prompt_tokens=wire.input_tokens,
            completion_tokens=wire.output_tokens,
            total_tokens=wire.total_tokens,
            prompt_tokens_details=wire.input_tokens_details,
            completion_tokens_details=wire.output_tokens_details,
        )
    )


def response_as_events(body: bytes) -> bytes:
    """Write a whole response as stream events; raise BadReply if it is no response or not finished."""
    try:
        response: dict[str, Any] = msgspec.json.decode(body)
        last = _ENDS[response.get("status") or "completed"]
        created = {**response, "status": "in_progress", "output": [], "usage": None, "error": None}
        events = [{"type": "response.created", "response": created}]
        for index, item in enumerate(response["output"]):
            events += _item_events(item, index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError):
        message = "the provider answered a streamed request with JSON that is not a response"
        raise BadReply(message) from None
    events.append({"type": last, "response": response})
    return b"".join(event_bytes({**event, "sequence_number": number}) for number, event in enumerate(events))


def event_bytes(event: dict[str, Any]) -> bytes:
    """Return one event of the Responses API as it is on the wire."""
    return f"event: {event['type']}\ndata: ".encode() + _encode(event) + b"\n\n"


def _item_events(item: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    place = {"output_index": index, "item_id": item.get("id", "")}
    added = {**item, "status": "in_progress"}
    events: list[dict[str, Any]] = []
    if item["type"] == "message":
        added["content"] = []
        for number, part in enumerate(item["content"]):
            events += _part_events(part, {**place, "content_index": number})
    elif item["type"] == "function_call":
        added["arguments"] = ""
        arguments = item["arguments"]
        events += [
            {"type": "response.function_call_arguments.delta", **place, "delta": arguments},
            {"type": "response.function_call_arguments.done", **place, "arguments": arguments},
        ]
    yield {"type": "response.output_item.added", "output_index": index, "item": added}
    yield from events
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part_events(part: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    added = {**part, "text": ""} if part["type"] == "output_text" else part
    yield {"type": "response.content_part.added", **place, "part": added}
    if part["type"] == "output_text":
        common = {**place, "logprobs": part.get("logprobs") or []}
        yield {"type": "response.output_text.delta", **common, "delta": part["text"]}
        yield {"type": "response.output_text.done", **common, "text": part["text"]}
    yield {"type": "response.content_part.done", **place, "part": part}
