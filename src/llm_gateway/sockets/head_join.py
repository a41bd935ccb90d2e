"""Joins the head of a response, and its body, from usual headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

try:
    from llm_gateway.sockets import _head_join as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None

Headers = Sequence[tuple[bytes, bytes]]
# Takes the status line, the headers, how each of their names is written, and the body, or None for a head without its
# end. Returns None for anything but usual headers: without line breaks and NUL, of names that are known.
JoinHead = Callable[[bytes, Headers, Mapping[bytes, bytes], "bytes | None"], "bytes | None"]

# It is None where it was not compiled: Python has a way of its own (`server.http1.response_head`).
join_head: JoinHead | None = _compiled.join_head if IS_COMPILED else None
