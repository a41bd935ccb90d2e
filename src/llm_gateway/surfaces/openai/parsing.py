"""Parses OpenAI request bodies: checks the fields that the gateway acts on, and passes all others on unchanged."""

from __future__ import annotations

import msgspec

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.surfaces.openai.fields import (
    Fields,
    first_byte,
    is_given,
    read_boolean,
    read_fields,
    read_model,
    wrong_type,
)

# Fields that refer to state in the provider's account: an earlier response, a conversation, a prompt template.
_STATEFUL_FIELDS = ("previous_response_id", "conversation", "prompt")

_ARRAY = ord("[")
_TRUE = msgspec.Raw(b"true")


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


def parse_chat(body: bytes) -> ModelRequest:
    """Parse a chat completion request; raise BadRequest that names the field."""
    fields = read_fields(body)
    messages = fields.get("messages")
    if messages is None:
        raise BadRequest(
            "The field 'messages' is missing; send the conversation as an array.", param="messages"
        )
    if memoryview(messages)[0] != _ARRAY:
        raise wrong_type("messages", "an array of messages", messages)
    stream = fields.get("stream")
    # By position, which is several times as fast as by name.
    if stream is None:
        return ModelRequest("chat/completions", read_model(fields), False, False, fields)
    if stream == _TRUE:
        # As `_request` does, without its frames.
        options = fields.get("stream_options")
        wants_usage = options is not None and _wants_usage(options)
        return ModelRequest("chat/completions", read_model(fields), True, wants_usage, fields)
    return _request("chat/completions", fields)


def parse_completion(body: bytes) -> ModelRequest:
    """Parse a legacy completion request; raise BadRequest that names the field."""
    fields = read_fields(body)
    prompt = fields.get("prompt")
    if prompt is not None and first_byte(prompt) not in {b'"', b"[", b"n"}:
        raise wrong_type("prompt", "a string or an array", prompt)
    return _request("completions", fields)


def parse_embedding(body: bytes) -> ModelRequest:
    """Parse an embedding request, which is never streamed; raise BadRequest that names the field."""
    fields = read_fields(body)
    if not is_given(fields, "input"):
        raise BadRequest("The field 'input' is missing; send a text or an array.", param="input")
    _check_input(fields)
    return ModelRequest(
        endpoint="embeddings", model=read_model(fields), stream=False, wants_usage=False, fields=fields
    )


def parse_response(body: bytes) -> ModelRequest:
    """Parse a request of the Responses API; raise BadRequest that names the field.

    `model` is required even if a `prompt` template names one: the gateway needs it to find a provider.
    """
    fields = read_fields(body)
    stateful_field = next((name for name in _STATEFUL_FIELDS if is_given(fields, name)), None)
    if is_given(fields, "input"):
        _check_input(fields)
    elif stateful_field is None:
        raise BadRequest("The field 'input' is missing; send a text or an array of items.", param="input")
    if read_boolean(fields, "background"):
        message = (
            "The gateway does not support background responses, because it does not store them. "
            "Leave 'background' out, and stream long responses."
        )
        raise BadRequest(message, param="background", code="background_not_supported")
    return ModelRequest(
        endpoint="responses",
        model=read_model(fields),
        stream=read_boolean(fields, "stream"),
        wants_usage=False,
        fields=fields,
        stateful_field=stateful_field,
    )


def _check_input(fields: Fields) -> None:
    given = fields["input"]
    if first_byte(given) not in {b'"', b"["}:
        raise wrong_type("input", "a string or an array", given)


def _request(endpoint: EndpointName, fields: Fields) -> ModelRequest:
    stream = read_boolean(fields, "stream")
    wants_usage = stream and _wants_usage(fields.get("stream_options"))
    return ModelRequest(endpoint, read_model(fields), stream, wants_usage, fields)


def _wants_usage(raw: msgspec.Raw | None) -> bool:
    if raw is None or bytes(raw) == b"null":
        return False
    try:
        return bool(msgspec.json.decode(raw, type=_StreamOptions).include_usage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise wrong_type("stream_options", 'an object like {"include_usage": true}', raw) from None
