"""Reads the JSON bodies of translated APIs strictly: an unknown field or a wrong type is named, not ignored."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

from llm_gateway.core.errors import BadRequest

_Body = TypeVar("_Body")

# msgspec's words: "Expected `int`, got `str` - at `$.max_tokens`".
_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"unknown field `(?P<name>.{0,200}?)`", re.DOTALL)
_MISSING: Final = re.compile(r"required field `(?P<name>[^`]*)`")
_SHOWN: Final = 200
# Codes of errors, beside `invalid_request`: of a value that is not allowed.
INVALID_JSON: Final = "invalid_json"
UNKNOWN_FIELD: Final = "unknown_parameter"
MISSING_FIELD: Final = "missing_required_parameter"
WRONG_TYPE: Final = "invalid_type"


def read_body(body: bytes, decoder: msgspec.json.Decoder[_Body], fields: tuple[str, ...]) -> _Body:
    """Return the body as the decoder's struct; raise BadRequest that names the field and says what to do.

    The struct should forbid unknown fields; `fields` are those that clients may send.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), fields) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = "The body is not valid JSON. Send a JSON object with Content-Type: application/json."
        raise BadRequest(message, code=INVALID_JSON) from None


def _invalid(text: str, fields: tuple[str, ...]) -> BadRequest:
    found = _AT.match(text)
    what, where = (found["what"], found["where"] or "") if found else (text, "")
    if (unknown := _UNKNOWN.search(what)) is not None:
        name = _below(where, unknown["name"])
        known = f" Known fields: {', '.join(fields)}." if not where else ""
        return BadRequest(
            f"The field '{name}' is not known; leave it out.{known}", param=name, code=UNKNOWN_FIELD
        )
    if (missing := _MISSING.search(what)) is not None:
        name = _below(where, missing["name"])
        return BadRequest(f"The field '{name}' is missing.", param=name, code=MISSING_FIELD)
    if not where:
        return BadRequest("The body must be a JSON object.", code=WRONG_TYPE)
    message = f"The field '{where[:_SHOWN]}' is wrong: {_plain(what)}."
    return BadRequest(message, param=where[:_SHOWN], code=WRONG_TYPE)


def _below(where: str, name: str) -> str:
    return (f"{where}.{name}" if where else name)[:_SHOWN]


def _plain(what: str) -> str:
    """Return msgspec's words without the marks around types, for a sentence."""
    # That a field may be null is of no help to who sent something else.
    text = what.replace("`", "").replace(" | null", "").replace("null", "null (nothing)")[:_SHOWN]
    return text[:1].lower() + text[1:]
