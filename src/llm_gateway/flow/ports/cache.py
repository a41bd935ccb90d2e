"""The port of the reply cache."""

from __future__ import annotations

from typing import Literal, Protocol

CacheResult = Literal["hit", "miss", "bypass"]


class ReplyCache(Protocol):
    """Stores replies under opaque keys. Never raises: when the store fails, a lookup is a miss."""

    async def get(self, key: bytes) -> bytes | None:
        """Return the value, or None when there is none or it has expired."""

    async def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Store `value` for at most `ttl` seconds; the cache may drop it earlier."""
