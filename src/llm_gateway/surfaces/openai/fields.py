"""Splits a request body into its top-level fields, and reads those that the gateway acts on."""

from __future__ import annotations

import msgspec

from llm_gateway.core.errors import BadRequest
from llm_gateway.wire.field_cutter import cut_fields
from llm_gateway.wire.raw_json import is_utf8

Fields = dict[str, msgspec.Raw]

_decode_fields = msgspec.json.Decoder(Fields).decode
_decode_text = msgspec.json.Decoder(str).decode
_LONGEST_MODEL = 512
# Smaller bodies, in bytes, are decoded for less than what it takes to cut them.
_CUT_FROM = 512


def read_fields(body: bytes) -> Fields:
    """Return the fields of a JSON object; raise BadRequest if `body` is not one."""
    if len(body) >= _CUT_FROM:
        fields = cut_fields(body)
        if fields is not None:
            return fields
    if not body:
        raise BadRequest("The request body is empty; send a JSON object.", code="invalid_json")
    try:
        if not (body.isascii() or is_utf8(body)):
            raise BadRequest("The request body is not UTF-8.", code="invalid_json")
        return _decode_fields(body)
    except msgspec.ValidationError:
        raise BadRequest("The request body must be a JSON object.", code="invalid_json") from None
    except UnicodeDecodeError:
        raise BadRequest("The request body is not UTF-8.", code="invalid_json") from None
    except RecursionError:
        message = "The request body is nested too deeply: more than some 900 levels."
        raise BadRequest(message, code="invalid_json") from None
    except msgspec.DecodeError as error:
        # msgspec names the problem and its position ("byte 12"), but no content.
        raise BadRequest(f"The request body is not valid JSON: {error}.", code="invalid_json") from None


def read_model(fields: Fields) -> str:
    """Return the field `model`; raise BadRequest if it is missing, not a string, empty or too long."""
    raw = fields.get("model")
    if raw is None:
        raise BadRequest("The field 'model' is missing; name the model to use.", param="model")
    try:
        model = _decode_text(raw)
        if not model.isascii():
            model.encode()
    except (msgspec.DecodeError, UnicodeError):
        raise wrong_type("model", "a string", raw) from None
    if not model or len(model) > _LONGEST_MODEL:
        message = f"The field 'model' must have 1 to {_LONGEST_MODEL} characters."
        raise BadRequest(message, param="model")
    return model


def read_boolean(fields: Fields, name: str) -> bool:
    """Return a boolean field; false if it is missing or null."""
    raw = fields.get(name)
    if raw is None:
        return False
    value = bytes(raw)
    if value == b"true":
        return True
    if value in {b"false", b"null"}:
        return False
    raise wrong_type(name, "true or false", raw)


def is_given(fields: Fields, name: str) -> bool:
    """Return whether a field is present and not null."""
    raw = fields.get(name)
    return raw is not None and bytes(raw) != b"null"


def wrong_type(name: str, wanted: str, raw: msgspec.Raw) -> BadRequest:
    """Return the error for a field of the wrong type; it names the given type, but not the value."""
    kinds = {
        b"{": "an object",
        b"[": "an array",
        b'"': "a string",
        b"t": "a boolean",
        b"f": "a boolean",
        b"n": "null",
    }
    got = kinds.get(first_byte(raw), "a number")
    return BadRequest(f"The field '{name}' must be {wanted}, not {got}.", param=name, code="invalid_type")


def first_byte(raw: msgspec.Raw) -> bytes:
    """Return the first byte of a JSON value, which determines its type."""
    return bytes(memoryview(raw)[:1])
