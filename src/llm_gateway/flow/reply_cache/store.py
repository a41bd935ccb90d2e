"""Finds and keeps whole replies by their key, and lets identical requests wait for one another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llm_gateway.flow.ports.cache import CacheResult, ReplyCache
from llm_gateway.flow.reply_cache.entry import CachedReply, from_bytes, to_bytes


class InFlightRequest:
    """One request on its way to a provider, and a place for others that would ask the same to wait."""

    __slots__ = ("_landed", "left")

    def __init__(self) -> None:
        """Take off."""
        self._landed: asyncio.Future[CachedReply | None] = asyncio.get_running_loop().create_future()
        # Its client did not wait for the reply.
        self.left = False

    def land(self, reply: CachedReply | None) -> None:
        """Say what came of it, None = nothing that others may have; only the first word counts."""
        if not self._landed.done():
            self._landed.set_result(reply)

    async def landing(self, timeout: float) -> bool:
        """Wait for it to land; tell whether it has, within `timeout` seconds."""
        await asyncio.wait([self._landed], timeout=timeout)
        return self._landed.done()

    @property
    def reply(self) -> CachedReply | None:
        """Return what came of it, once it has landed."""
        return self._landed.result()


class ReplyStore:
    """What the flow knows of kept replies.

    `namespace` goes into every key: gateways that share a cache share replies only when it is the same.
    `largest` bounds a kept reply, in bytes. `flights` are those of this process, by key.
    """

    def __init__(
        self, cache: ReplyCache, *, namespace: bytes, largest: int, count: Callable[[CacheResult], None]
    ) -> None:
        """Keep replies in `cache`; `count` is told of every request in which it had a part."""
        self._cache = cache
        self.namespace = namespace
        self.largest = largest
        self.count = count
        self.flights: dict[bytes, InFlightRequest] = {}

    async def find(self, key: bytes) -> CachedReply | None:
        """Return the reply under `key`, if there is one that can be read."""
        value = await self._cache.get(key)
        return None if value is None else from_bytes(value)

    async def keep(self, key: bytes, reply: CachedReply, ttl: float) -> None:
        """Keep `reply` for `ttl` seconds."""
        await self._cache.put(key, to_bytes(reply), ttl)
