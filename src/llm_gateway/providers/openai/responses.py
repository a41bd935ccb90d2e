"""Reads whole replies of the Responses API: whether one is an answer, its usage and failures."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import msgspec

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.providers.base import Completion, UpstreamErrorBody
from llm_gateway.providers.openai.errors import error_body_from
from llm_gateway.providers.openai.failures import NO_ANSWER, error_in
from llm_gateway.providers.openai.whole_replies import STREAM_STARTS, without_prelude
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.loose_json import read_json, write_json
from llm_gateway.wire.openai_responses.responses import (
    BilledResponsesUsage,
    decode_billed_response,
    decode_response,
    responses_usage,
)
from llm_gateway.wire.stated_costs import CostReader
from llm_gateway.wire.token_counts import OddObject

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_FAILED = frozenset({"failed", "cancelled", "error"})
_COMPLETE = frozenset({"completed", "incomplete"})
_UNFINISHED = frozenset({"queued", "in_progress"})
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})


def response_error_body(response: object) -> UpstreamErrorBody:
    """Read why a response failed from its `error`."""
    found = (
        error_body_from(response)
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


def read_response(body: bytes, read_cost: CostReader | None = None, asked: Container[str] = ()) -> Completion:
    """Read a unary reply; its bytes stay as they are. `refusal` is set if it is a failure.

    `read_cost` reads what the provider states that the request cost; `asked` are the fields of the request. Raise
    BadReply if it is no answer.
    """
    try:
        response = decode_response(body) if read_cost is None else decode_billed_response(body)
    except _UNREADABLE:
        return _read_unusual(body, read_cost, asked)
    return Completion(body, responses_usage(response.usage, response.service_tier, read_cost, asked))


def refusal_of_response(response: object, *, has_content: bool = False) -> UpstreamErrorBody | None:
    """Return why a decoded response is a failure, None for an answer; raise BadReply if it is neither.

    `has_content`: a stream has sent its content already, so that it need not be in the response.
    """
    if not isinstance(response, dict):
        message = "the provider's reply is not a JSON object"
        raise BadReply(message)
    status = str(response.get("status"))
    if status in _FAILED:
        return response_error_body(response)
    output = response.get("output")
    if has_content or (isinstance(output, list) and (output or status in _COMPLETE)):
        if status not in _UNFINISHED:
            return None
    elif (refusal := error_in(response)) is not None:
        return refusal
    message = "the provider's reply has no answer"
    raise BadReply(message)


def usage_of_response(
    response: object, read_cost: CostReader | None = None, asked: Container[str] = ()
) -> Usage | StatedUsage | None:
    """Return the usage of a decoded response, None if there is none that can be read."""
    if not isinstance(response, dict):
        return None
    try:
        usage = msgspec.convert(response.get("usage"), BilledResponsesUsage | OddObject)
        return responses_usage(usage, response.get("service_tier"), read_cost, asked)
    except msgspec.ValidationError:
        return None


def _read_unusual(body: bytes, read_cost: CostReader | None, asked: Container[str]) -> Completion:
    """Read a reply of another shape, or the event stream of one, of which the last event has the response."""
    text = without_prelude(body)
    if text.startswith(STREAM_STARTS):
        response = _last_response(text)
        if response is None:
            return Completion(body, None, NO_ANSWER)
        text = write_json(response)
    else:
        response = read_json(text)
    return Completion(text, usage_of_response(response, read_cost, asked), refusal_of_response(response))


def _last_response(text: bytes) -> dict[str, Any] | None:
    """Return the response that a stream ends with, or its error."""
    value: object = None
    for event in split_events(text):
        data = (event_data(event) or b"").strip()
        if data in {b"", b"[DONE]"}:
            continue
        value = read_json(data)
        if not isinstance(value, dict):
            continue
        if str(value.get("type")) in _LAST and isinstance(value.get("response"), dict):
            response: dict[str, Any] = value["response"]
            return response
        if value.get("type") == "error" or error_in(value) is not None:
            return {"status": "failed", "error": value.get("error") or {**value, "type": None}}
    # Some servers send the response alone.
    return value if isinstance(value, dict) and "output" in value else None
