"""Records as lines of JSON, of bounded length whatever text a client sent."""

from __future__ import annotations

from typing import TypeVar

import msgspec

# The maximum length of a line, so that a reader recognises garbage by its length.
MAX_LINE = 64 * 1024
# If a line would be longer, its texts are truncated to this.
_MAX_TEXT = 512
NEWLINE = 0x0A

_encoder = msgspec.json.Encoder()
_encode = _encoder.encode
# Replaces what is in a bytearray, whose memory thereby serves one record after the other, with the record as JSON.
# Whoever calls it ends the line, and falls back to `to_line` for one that is too long or has invalid Unicode.
encode_into = _encoder.encode_into
_Record = TypeVar("_Record", bound=msgspec.Struct)


def to_line(record: msgspec.Struct) -> bytes:
    """Return the record as a line; truncate texts that are too long, and replace invalid Unicode."""
    try:
        line = _encode(record)
    except UnicodeEncodeError:
        line = _encode(truncated(record, _MAX_TEXT))
    if len(line) >= MAX_LINE:
        line = _encode(truncated(record, _MAX_TEXT))
    return line + b"\n"


def truncated(record: _Record, length: int) -> _Record:
    """Return a copy whose texts have at most `length` characters, and no invalid Unicode."""
    texts = {
        name: value.encode("utf-8", "replace").decode()[:length]
        for name, value in msgspec.structs.asdict(record).items()
        if isinstance(value, str)
    }
    return msgspec.structs.replace(record, **texts)
