"""Where replies are cached."""

from __future__ import annotations

from typing import Literal, Protocol

CacheResult = Literal["hit", "miss", "bypass"]


class ReplyCache(Protocol):
    """Keeps replies by an opaque key. Never raises: a failing store is a miss, and its own affair."""

    async def get(self, key: bytes) -> bytes | None:
        """Return what is kept and not too old, or None."""

    async def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Keep `value` for `ttl` seconds at most."""
