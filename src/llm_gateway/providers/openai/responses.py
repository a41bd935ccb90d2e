"""The Responses API's whole replies: their usage, their failures, and one of them told as a stream."""

from __future__ import annotations

import msgspec

from llm_gateway.providers.base import Completion, UpstreamErrorBody
from llm_gateway.providers.openai.errors import refusal_from
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_responses.responses import WireResponse, decode_response, responses_usage

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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
        response = decode_response(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        response = _lenient_decode(body)
    refusal = response_refusal(msgspec.json.decode(body)) if response.status == "failed" else None
    return Completion(body=body, usage=responses_usage(response.usage), refusal=refusal)


def _lenient_decode(body: bytes) -> WireResponse:
    """Accept any JSON object; its usage is then unknown."""
    try:
        _decode_object(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = "the provider's reply is not a JSON object"
        raise BadReply(message) from None
    return WireResponse()
