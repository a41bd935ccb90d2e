"""The Responses API's replies that the gateway reads, and a whole response written as a stream's events."""

from __future__ import annotations

from collections.abc import Container, Iterator
from decimal import Decimal
from typing import Any, Literal

import msgspec

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.loose_json import read_json, write_json
from llm_gateway.wire.openai_chat.usage import (
    BilledPromptDetails,
    CompletionDetails,
    PromptDetails,
    WireUsage,
    judged,
    usage_from_wire,
)
from llm_gateway.wire.stated_costs import CostReader, member
from llm_gateway.wire.stated_details import tier_of
from llm_gateway.wire.token_counts import OddCount, OddObject

_ENDS = {"completed": "response.completed", "incomplete": "response.incomplete", "failed": "response.failed"}


class ResponsesUsage(msgspec.Struct, gc=False):
    """`usage` of a response."""

    input_tokens: int | OddCount = None
    output_tokens: int | OddCount = None
    total_tokens: int | OddCount = None
    input_tokens_details: PromptDetails | OddObject = None
    output_tokens_details: CompletionDetails | OddObject = None


class BilledResponsesUsage(ResponsesUsage, gc=False):
    """`usage` of providers that state a cost; see `stated_costs.CostFields`."""

    input_tokens_details: BilledPromptDetails | OddObject = None
    cost: Any = None
    cost_details: Any = None
    is_byok: Any = None
    cost_in_usd_ticks: Any = None
    # Perplexity's: how often each tool was called.
    tool_calls_details: Any = None


class WireResponse(msgspec.Struct, gc=False):
    """A whole response, as far as it tells that it is an answer."""

    status: Literal["completed", "incomplete"]
    output: list[msgspec.Raw]
    usage: ResponsesUsage | OddObject = None
    service_tier: OddCount = None


class BilledResponse(WireResponse, gc=False):
    """A whole response of a provider that states a cost."""

    usage: BilledResponsesUsage | OddObject = None


decode_response = msgspec.json.Decoder(WireResponse).decode
decode_billed_response = msgspec.json.Decoder(BilledResponse, float_hook=Decimal).decode


def responses_usage(
    wire: ResponsesUsage | OddObject,
    service_tier: OddCount = None,
    read_cost: CostReader | None = None,
    asked: Container[str] = (),
) -> Usage | StatedUsage | None:
    """Return the usage; what is missing, impossible or zero makes it a StatedUsage, and None if nothing is stated."""
    if not isinstance(wire, ResponsesUsage):
        return None
    counts = (wire.input_tokens, wire.output_tokens, wire.total_tokens)
    details, answer_details = wire.input_tokens_details, wire.output_tokens_details
    if not isinstance(wire, BilledResponsesUsage):
        return usage_from_wire(WireUsage(*counts, details, answer_details), service_tier, None, asked)
    return judged(
        counts,
        details,
        answer_details,
        tier_of(service_tier, asked),
        None if read_cost is None else read_cost(wire),
        searches=member(member(wire.tool_calls_details, "search_web"), "invocation"),
    )


def response_as_events(body: bytes) -> bytes:
    """Write a whole response as stream events; raise BadReply if it is no response or not finished."""
    try:
        response: dict[str, Any] = read_json(body)
        last = _ENDS[response.get("status") or "completed"]
        created = {**response, "status": "in_progress", "output": [], "usage": None, "error": None}
        events = [{"type": "response.created", "response": created}]
        for index, item in enumerate(response["output"]):
            events += _item_events(item, index)
    except (BadReply, KeyError, TypeError, AttributeError):
        message = "the provider answered a streamed request with JSON that is not a response"
        raise BadReply(message) from None
    events.append({"type": last, "response": response})
    return b"".join(event_bytes({**event, "sequence_number": number}) for number, event in enumerate(events))


def event_bytes(event: dict[str, Any]) -> bytes:
    """Return one event of the Responses API as it is on the wire."""
    return f"event: {event['type']}\ndata: ".encode() + write_json(event) + b"\n\n"


def _item_events(item: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    place = {"output_index": index, "item_id": item.get("id", "")}
    added = {**item, "status": "in_progress"}
    events: list[dict[str, Any]] = []
    if item.get("type") == "message":
        added["content"] = []
        for number, part in enumerate(item.get("content") or ()):
            events += _part_events(part, {**place, "content_index": number})
    elif item.get("type") == "function_call":
        added["arguments"] = ""
        arguments = item.get("arguments") or ""
        events += [
            {"type": "response.function_call_arguments.delta", **place, "delta": arguments},
            {"type": "response.function_call_arguments.done", **place, "arguments": arguments},
        ]
    yield {"type": "response.output_item.added", "output_index": index, "item": added}
    yield from events
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part_events(part: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    is_text = part.get("type") == "output_text" and isinstance(part.get("text"), str)
    added = {**part, "text": ""} if is_text else part
    yield {"type": "response.content_part.added", **place, "part": added}
    if is_text:
        common = {**place, "logprobs": part.get("logprobs") or []}
        yield {"type": "response.output_text.delta", **common, "delta": part["text"]}
        yield {"type": "response.output_text.done", **common, "text": part["text"]}
    yield {"type": "response.content_part.done", **place, "part": part}
