"""Replies kept in this process: the least recently used go first, and no more bytes are held than allowed."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from llm_gateway.flow.ports.clock import Clock

# No value may take more than this part of the whole, so that one reply does not push out all others.
LARGEST_SHARE = 8
# What an entry takes beside its key and value: the objects, and its place in the index.
_ENTRY_BYTES = 256


class _Entry(NamedTuple):
    value: bytes
    # By the monotonic clock.
    expires: float
    size: int


class InProcessReplyCache:
    """Implements the `ReplyCache` port; each call takes the same time however much is kept.

    `held_bytes` never exceeds `max_bytes`. What is too old goes when it is asked for, or when it is the
    least recently used.
    """

    def __init__(self, max_bytes: int, clock: Clock) -> None:
        """Keep nothing yet."""
        self.held_bytes = 0
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    async def get(self, key: bytes) -> bytes | None:
        """Return what is kept and not too old, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= self._clock.monotonic():
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Keep `value`, unless it is too large or `ttl` is over; what was kept before goes either way."""
        self._forget(key)
        size = len(key) + len(value) + _ENTRY_BYTES
        if ttl <= 0 or size > self._max_bytes // LARGEST_SHARE:
            return
        self._entries[key] = _Entry(value, self._clock.monotonic() + ttl, size)
        self.held_bytes += size
        while self.held_bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))

    async def close(self) -> None:
        """Keep nothing more."""
        self._entries.clear()
        self.held_bytes = 0

    def _forget(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.held_bytes -= entry.size
