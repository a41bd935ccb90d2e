"""Bounds on the JSON of a provider: how many values one reply or event may hold, before anything decodes it."""

from __future__ import annotations

from typing import Final

# Bytes. What is smaller cannot hold enough values to stop the process.
LARGE: Final = 1024 * 1024
# More than the largest real replies hold; each value takes about 100 bytes once it is decoded.
MOST_VALUES: Final = 2_000_000
# Of one event, which is decoded on the event loop.
MOST_EVENT_VALUES: Final = 1_000_000
_SEPARATORS = (b",", b"{", b"[")


def count_values(body: bytes, start: int = 0, end: int | None = None) -> int:
    """Return an upper bound for the values in a part of a JSON text; a few milliseconds for each megabyte."""
    stop = len(body) if end is None else end
    return sum(body.count(separator, start, stop) for separator in _SEPARATORS)
