"""JSON as most clients read it: a surrogate without its partner, NaN and a byte order mark are no errors."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from llm_gateway.wire.errors import BadReply

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_json(data: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Decode any JSON, with bytes that are not UTF-8 replaced; raise BadReply if it is none."""
    try:
        return msgspec.json.decode(data)
    except _UNREADABLE:
        pass
    try:
        return json.loads(data.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        message = "the provider's reply is not JSON"
        raise BadReply(message) from None


def write_json(value: object) -> bytes:
    """Encode what `read_json` returned."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
