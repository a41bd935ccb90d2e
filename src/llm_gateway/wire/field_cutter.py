"""Cuts a JSON object into its fields, whose values stay the bytes that they were written in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from llm_gateway.wire.raw_json import JsonObject, is_utf8

try:
    from llm_gateway.wire import _field_cutter as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None

_decode_fields = msgspec.json.Decoder(JsonObject).decode


def python_cut_fields(body: bytes, /) -> JsonObject | None:
    """Return the fields of a JSON object; None if `body` is none, or is not UTF-8.

    The values refer to `body`, without a copy. Of names that are there twice, the last value counts. The compiled way
    also returns None for what is unusual: an escape or another alphabet in a field's name, nesting of more than 64
    levels.
    """
    try:
        return _decode_fields(body) if is_utf8(body) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


if _compiled is not None:
    # It searches strings with the widest registers that this processor has.
    _compiled.configure(msgspec.Raw, True)

cut_fields: Callable[[bytes], JsonObject | None] = _compiled.cut_fields if IS_COMPILED else python_cut_fields
