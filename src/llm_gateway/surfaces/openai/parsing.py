"""Reads an OpenAI request body: the fields that the gateway acts on are checked, all others pass untouched."""

from __future__ import annotations

import msgspec

from llm_gateway.core.chat import ChatRequest, Endpoint
from llm_gateway.core.errors import BadRequest

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_LONGEST_MODEL = 512


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


def parse_chat(body: bytes) -> ChatRequest:
    """Read a chat completion request; raise BadRequest that names the field."""
    fields = _fields(body)
    messages = fields.get("messages")
    if messages is None:
        raise BadRequest(
            "The field 'messages' is missing; send the conversation as an array.", param="messages"
        )
    if _first_byte(messages) != b"[":
        raise _wrong_type("messages", "an array of messages", messages)
    return _request("chat/completions", fields)


def parse_completion(body: bytes) -> ChatRequest:
    """Read a legacy completion request; raise BadRequest that names the field."""
    fields = _fields(body)
    prompt = fields.get("prompt")
    if prompt is not None and _first_byte(prompt) not in {b'"', b"[", b"n"}:
        raise _wrong_type("prompt", "a string or an array", prompt)
    return _request("completions", fields)


def _request(endpoint: Endpoint, fields: dict[str, msgspec.Raw]) -> ChatRequest:
    stream = _boolean(fields, "stream")
    return ChatRequest(
        endpoint=endpoint,
        model=_model(fields),
        stream=stream,
        wants_usage=stream and _wants_usage(fields.get("stream_options")),
        fields=fields,
    )


def _fields(body: bytes) -> dict[str, msgspec.Raw]:
    if not body:
        raise BadRequest("The request body is empty; send a JSON object.", code="invalid_json")
    try:
        if not body.isascii():
            body.decode("utf-8")
        return _decode_fields(body)
    except msgspec.ValidationError:
        raise BadRequest("The request body must be a JSON object.", code="invalid_json") from None
    except UnicodeDecodeError:
        raise BadRequest("The request body is not UTF-8.", code="invalid_json") from None
    except RecursionError:
        raise BadRequest("The request body is nested too deeply.", code="invalid_json") from None
    except msgspec.DecodeError as error:
        # msgspec says what and where ("byte 12"), and nothing of the content.
        raise BadRequest(f"The request body is not valid JSON: {error}.", code="invalid_json") from None


def _model(fields: dict[str, msgspec.Raw]) -> str:
    raw = fields.get("model")
    if raw is None:
        raise BadRequest("The field 'model' is missing; name the model to use.", param="model")
    try:
        model = msgspec.json.decode(raw, type=str)
        model.encode()
    except (msgspec.DecodeError, UnicodeError):
        raise _wrong_type("model", "a string", raw) from None
    if not model or len(model) > _LONGEST_MODEL:
        message = f"The field 'model' must have 1 to {_LONGEST_MODEL} characters."
        raise BadRequest(message, param="model")
    return model


def _boolean(fields: dict[str, msgspec.Raw], name: str) -> bool:
    raw = fields.get(name)
    if raw is None:
        return False
    value = bytes(raw)
    if value == b"true":
        return True
    if value in {b"false", b"null"}:
        return False
    raise _wrong_type(name, "true or false", raw)


def _wants_usage(raw: msgspec.Raw | None) -> bool:
    if raw is None or bytes(raw) == b"null":
        return False
    try:
        return bool(msgspec.json.decode(raw, type=_StreamOptions).include_usage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _wrong_type("stream_options", 'an object like {"include_usage": true}', raw) from None


def _wrong_type(name: str, wanted: str, raw: msgspec.Raw) -> BadRequest:
    kinds = {
        b"{": "an object",
        b"[": "an array",
        b'"': "a string",
        b"t": "a boolean",
        b"f": "a boolean",
        b"n": "null",
    }
    got = kinds.get(_first_byte(raw), "a number")
    return BadRequest(f"The field '{name}' must be {wanted}, not {got}.", param=name, code="invalid_type")


def _first_byte(raw: msgspec.Raw) -> bytes:
    return bytes(memoryview(raw)[:1])
