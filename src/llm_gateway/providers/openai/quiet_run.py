"""Finds the events at the start of a block that end like plain content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

try:
    from llm_gateway.providers.openai import _quiet_run as _compiled
except ImportError:
    # It was not compiled (docs/dependencies.md).
    _compiled = None  # type: ignore[assignment]
IS_COMPILED: Final = _compiled is not None


def python_quiet_end(block: bytes, start: int, tail: bytes, /) -> int:
    """Return the offset behind the last of the events from `start` on that ends with `tail`.

    Returns `start` if there is none, if an event before the last of them ends otherwise, if there is a carriage
    return, which may be part of another line end, or if `tail` is empty. A tail does not begin with a line end, and
    ends with its only blank line.
    """
    if not tail:
        return start
    size = len(block)
    if block.endswith(tail, start) and block.find(b"\n", start) == size - 2:
        # One quiet line: by far the most frequent case. Searching for one byte is much faster than for two.
        return size if block.find(b"\r", start) < 0 else start
    last = block.rfind(tail, start)
    if last < 0 or block.find(b"\r", start) >= 0:
        return start
    end = last + len(tail)
    return end if block.count(tail, start, end) == block.count(b"\n\n", start, end) else start


quiet_end: Callable[[bytes, int, bytes], int] = _compiled.quiet_end if IS_COMPILED else python_quiet_end
