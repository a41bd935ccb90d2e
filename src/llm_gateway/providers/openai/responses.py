"""The Responses API's whole replies: their usage, their failures, and one of them told as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.providers.base import BadReply, Completion, UpstreamErrorBody
from llm_gateway.providers.openai.errors import refusal_from
from llm_gateway.providers.openai.usage import CompletionDetails, PromptDetails, WireUsage, usage_from_wire

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ENDS = {"completed": "response.completed", "incomplete": "response.incomplete", "failed": "response.failed"}


class ResponsesUsage(msgspec.Struct, gc=False):
    """`usage` of a response."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: PromptDetails | None = None
    output_tokens_details: CompletionDetails | None = None


class WireResponse(msgspec.Struct, gc=False):
    """A response, whole or as the last event of a stream has it."""

    status: str | None = None
    usage: ResponsesUsage | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_decode_response = msgspec.json.Decoder(WireResponse).decode


def responses_usage(wire: ResponsesUsage | None) -> Usage | None:
    """Return the usage, or None when the provider gave no count that can be trusted."""
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


def response_refusal(response: object) -> UpstreamErrorBody:
    """Say why a response failed, as its `error` has it."""
    found = (
        refusal_from(response)
        if isinstance(response, dict) and response.get("error")
        else UpstreamErrorBody()
    )
    return UpstreamErrorBody(
        message=found.message or "The provider failed to answer.",
        type=found.type or "server_error",
        code=found.code,
        param=found.param,
        about=found.about,
    )


def read_response(body: bytes) -> Completion:
    """Read a unary reply; the bytes stay as they are, unless they tell of a failure."""
    try:
        response = _decode_response(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        response = _loosely(body)
    refusal = response_refusal(msgspec.json.decode(body)) if response.status == "failed" else None
    return Completion(body=body, usage=responses_usage(response.usage), refusal=refusal)


def _loosely(body: bytes) -> WireResponse:
    """Accept any JSON object; its usage is then unknown."""
    try:
        _decode_object(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = "the provider's reply is not a JSON object"
        raise BadReply(message) from None
    return WireResponse()


def response_as_events(body: bytes) -> bytes:
    """Tell a whole response as the events of a stream; raise BadReply when it is none, or is not there yet."""
    try:
        response: dict[str, Any] = msgspec.json.decode(body)
        last = _ENDS[response.get("status") or "completed"]
        begun = {**response, "status": "in_progress", "output": [], "usage": None, "error": None}
        events = [{"type": "response.created", "response": begun}]
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
    opening = {**item, "status": "in_progress"}
    told: list[dict[str, Any]] = []
    if item["type"] == "message":
        opening["content"] = []
        for number, part in enumerate(item["content"]):
            told += _part_events(part, {**place, "content_index": number})
    elif item["type"] == "function_call":
        opening["arguments"] = ""
        arguments = item["arguments"]
        told += [
            {"type": "response.function_call_arguments.delta", **place, "delta": arguments},
            {"type": "response.function_call_arguments.done", **place, "arguments": arguments},
        ]
    yield {"type": "response.output_item.added", "output_index": index, "item": opening}
    yield from told
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part_events(part: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    opening = {**part, "text": ""} if part["type"] == "output_text" else part
    yield {"type": "response.content_part.added", **place, "part": opening}
    if part["type"] == "output_text":
        said = {**place, "logprobs": part.get("logprobs") or []}
        yield {"type": "response.output_text.delta", **said, "delta": part["text"]}
        yield {"type": "response.output_text.done", **said, "text": part["text"]}
    yield {"type": "response.content_part.done", **place, "part": part}
