"""Looks up and stores whole replies by key, and lets identical requests share one provider call (single flight)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llm_gateway.flow.ports.cache import CacheResult, ReplyCache
from llm_gateway.flow.ports.listeners import notify
from llm_gateway.flow.reply_cache.entry import CachedReply, from_bytes, to_bytes


class InFlightRequest:
    """A request that was sent to a provider, and that identical requests wait for."""

    __slots__ = ("_result", "abandoned")

    def __init__(self) -> None:
        self._result: asyncio.Future[CachedReply | None] = asyncio.get_running_loop().create_future()
        # Its client disconnected before the reply was whole.
        self.abandoned = False

    def resolve(self, reply: CachedReply | None) -> None:
        """Set the result, None when there is no reply to share; later calls have no effect."""
        if not self._result.done():
            self._result.set_result(reply)

    async def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the result; return whether there is one."""
        await asyncio.wait([self._result], timeout=timeout)
        return self._result.done()

    @property
    def reply(self) -> CachedReply | None:
        """The result, once `wait` has returned True."""
        return self._result.result()


class ReplyStore:
    """The reply cache as the request flow uses it.

    `namespace` is part of every key: gateways that share a cache share replies only under the same namespace.
    `largest` is the most bytes of a cached reply. `in_flight` holds this process's open requests by key.
    """

    def __init__(
        self, cache: ReplyCache, *, namespace: bytes, largest: int, count: Callable[[CacheResult], None]
    ) -> None:
        """`count` is called with the result of each request that could have used the cache."""
        self._cache = cache
        self.namespace = namespace
        self.largest = largest
        self._count = count
        self.in_flight: dict[bytes, InFlightRequest] = {}

    def count(self, result: CacheResult) -> None:
        """Report the result of a request that could have used the cache. Never raises."""
        notify(self._count, result)

    async def find(self, key: bytes) -> CachedReply | None:
        """Return the reply under `key`; None when there is none or its format is unknown."""
        value = await self._cache.get(key)
        return None if value is None else from_bytes(value)

    async def store(self, key: bytes, reply: CachedReply, ttl: float) -> None:
        await self._cache.put(key, to_bytes(reply), ttl)
