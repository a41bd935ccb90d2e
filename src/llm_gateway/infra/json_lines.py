"""Facts as lines of JSON: any text that a client may send makes one line, of bounded length."""

from __future__ import annotations

from typing import TypeVar

import msgspec

# No line is longer, so that a reader can tell a long line from garbage.
MAX_LINE = 64 * 1024
# Texts in a fact whose line would be longer are cut to this.
_MAX_TEXT = 512

_encode = msgspec.json.Encoder().encode
_Fact = TypeVar("_Fact", bound=msgspec.Struct)


def to_line(fact: msgspec.Struct) -> bytes:
    """Return the fact's line; texts that are too long, or no valid Unicode, are mended rather than lost."""
    try:
        line = _encode(fact)
    except UnicodeEncodeError:
        line = _encode(_mended(fact))
    if len(line) >= MAX_LINE:
        line = _encode(_mended(fact))
    return line + b"\n"


def _mended(fact: _Fact) -> _Fact:
    texts = {
        name: value.encode("utf-8", "replace").decode()[:_MAX_TEXT]
        for name, value in msgspec.structs.asdict(fact).items()
        if isinstance(value, str)
    }
    return msgspec.structs.replace(fact, **texts)
