"""Matches a request with the head of an earlier one of its connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

try:
    from llm_gateway.sockets import _head_match as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None

# The most digits of a length; a body that needs more does not arrive in one piece.
_DIGITS: Final = 10


def python_match_head(before: bytes, after: bytes, data: bytes, /) -> bytes | None:
    """Return the body if `data` is exactly a head and its whole body, else None.

    The head is `before`, the digits of the body's length, and `after`.
    """
    if not data.startswith(before):
        return None
    size = len(before)
    end = data.find(b"\r", size, size + _DIGITS + 1)
    if end < 0 or not data.startswith(after, end):
        return None
    body = data[end + len(after) :]
    return body if data[size:end] == b"%d" % len(body) else None


match_head: Callable[[bytes, bytes, bytes], bytes | None] = (
    _compiled.match_head if IS_COMPILED else python_match_head
)
