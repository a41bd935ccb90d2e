"""Reads whole replies of the Responses API: usage and failures."""

from __future__ import annotations

import msgspec

from llm_gateway.providers.base import Completion, UpstreamErrorBody
from llm_gateway.providers.openai.errors import error_body_from
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_responses.responses import WireResponse, decode_response, responses_usage

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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


def read_response(body: bytes) -> Completion:
    """Read a unary reply; the bytes stay as they are, and `refusal` is set if the response failed."""
    try:
        response = decode_response(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        response = _lenient_decode(body)
    refusal = response_error_body(msgspec.json.decode(body)) if response.status == "failed" else None
    return Completion(body=body, usage=responses_usage(response.usage), refusal=refusal)


def _lenient_decode(body: bytes) -> WireResponse:
    """Accept any JSON object; its usage is then unknown."""
    try:
        _decode_object(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = "the provider's reply is not a JSON object"
        raise BadReply(message) from None
    return WireResponse()
