"""Escapes the characters that could forge or hide a part of a log, whatever a client or a provider sent.

Those are control characters (C0, DEL, C1), line and paragraph separators, bidirectional and other format characters,
and lone surrogates. Letters of every script stay as they are.
"""

from __future__ import annotations

import re

# First and last of each range, without the tab and the newline; the format characters are Unicode's category Cf.
_UNSAFE = (
    (0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x0600, 0x0605), (0x061C, 0x061C), (0x06DD, 0x06DD),
    (0x070F, 0x070F), (0x0890, 0x0891), (0x08E2, 0x08E2), (0x180E, 0x180E), (0x200B, 0x200F), (0x2028, 0x202E),
    (0x2060, 0x206F), (0xD800, 0xDFFF), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB), (0xFFFE, 0xFFFF), (0x110BD, 0x110BD),
    (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
# A table of them for `str.translate` would take a megabyte.
_RANGES = "".join(f"{chr(first)}-{chr(last)}" for first, last in _UNSAFE)
_UNSAFE_IN_BLOCK = re.compile(f"[{_RANGES}]")
_UNSAFE_IN_LINE = re.compile(f"[\n{_RANGES}]")
# Decoded UTF-8 has no surrogates.
_UNSAFE_IN_JSON = re.compile(
    "[\t\n"
    + "".join(f"{chr(first)}-{chr(last)}" for first, last in _UNSAFE if not 0xD800 <= first <= 0xDFFF)
    + "]"
)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] == "\n":
        return "\\n"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def one_line(text: str) -> str:
    """Return the text as a single line of a log."""
    return _UNSAFE_IN_LINE.sub(_escape, text)


def block(text: str) -> str:
    """Return the text as lines of a log; its newlines stay."""
    return _UNSAFE_IN_BLOCK.sub(_escape, text)


def json_line(line: bytes) -> bytes:
    """Return a JSON document in UTF-8 with the same value and none of these characters; a last newline stays."""
    if line.isascii() and b"\x7f" not in line:
        return line
    body, newline = (line[:-1], b"\n") if line.endswith(b"\n") else (line, b"")
    return _UNSAFE_IN_JSON.sub(_json_escape, body.decode()).encode() + newline


def _json_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
