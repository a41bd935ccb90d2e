"""A reply cache in the memory of one process: bounded in bytes, evicting the least recently used."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from llm_gateway.flow.ports.cache import ReplyCache
from llm_gateway.flow.ports.clock import Clock

# A value may take at most this fraction of the cache, so that one reply does not evict all others.
LARGEST_SHARE = 8
# The memory of an entry beside its key and value.
_ENTRY_BYTES = 256


class _Entry(NamedTuple):
    value: bytes
    # Seconds on the monotonic clock.
    expires_at: float
    size: int


class InProcessReplyCache(ReplyCache):
    """Implements the `ReplyCache` port; the time of a call does not depend on the number of entries.

    `held_bytes` never exceeds `max_bytes`. An expired entry is removed when it is looked up, or when it is the
    least recently used.
    """

    def __init__(self, max_bytes: int, clock: Clock) -> None:
        self.held_bytes = 0
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    async def get(self, key: bytes) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_at <= self._clock.monotonic():
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Store `value` unless it is too large or `ttl` is not positive; an older value is removed either way."""
        self._remove(key)
        size = len(key) + len(value) + _ENTRY_BYTES
        if ttl <= 0 or size > self._max_bytes // LARGEST_SHARE:
            return
        self._entries[key] = _Entry(value, self._clock.monotonic() + ttl, size)
        self.held_bytes += size
        while self.held_bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    async def close(self) -> None:
        self._entries.clear()
        self.held_bytes = 0

    def _remove(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.held_bytes -= entry.size
