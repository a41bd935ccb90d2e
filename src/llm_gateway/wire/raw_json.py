"""JSON that is carried without being decoded."""

from __future__ import annotations

import codecs

import msgspec

# An object's fields in order, each value as the bytes it was written in.
JsonObject = dict[str, msgspec.Raw]


_NOTHING = frozenset({b"null", b"false", b"0", b'""', b"{}", b"[]", b'"null"'})
# No value that is longer says nothing, unless it is full of white space.
_LONGEST_NOTHING = 64
_decode = msgspec.json.Decoder(msgspec.Raw).decode
# Bytes that are decoded at once.
_PIECE = 1 << 20


def says_nothing(raw: msgspec.Raw) -> bool:
    """Tell whether a value stands for "none", as in `"error": null`, `false` or `{}`."""
    return len(memoryview(raw)) < _LONGEST_NOTHING and bytes(raw).translate(None, b" \t\r\n") in _NOTHING


def is_json(text: str, brackets: str) -> bool:
    """Tell whether a text is a JSON value that begins with one of `brackets`; builds none of it in memory."""
    if not text.lstrip().startswith(tuple(brackets)):
        return False
    try:
        _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def is_utf8(body: bytes) -> bool:
    """Tell whether `body` is UTF-8. Decoded piece by piece: as one text, it could take four times its size."""
    if body.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(body), _PIECE):
            decoder.decode(body[start : start + _PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
