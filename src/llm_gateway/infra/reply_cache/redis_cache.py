"""A reply cache in a Redis that machines share; while Redis does not answer, every lookup is a miss."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from loguru import logger
from redis.asyncio import Redis

from llm_gateway.flow.ports.cache import ReplyCache
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.listeners import notify
from llm_gateway.infra.redis_pool import PAUSE_SECONDS, WAIT_SECONDS, open_redis_pool
from llm_gateway.infra.reply_cache.in_process import LARGEST_SHARE

# The number is raised when the format of keys or values changes, so that no version reads another's values.
PREFIX = b"llm-gateway:reply/1/"
# Redis counts as recovered when it has worked for this long.
_CALM_SECONDS = 5.0
_CONNECTIONS = 32

_T = TypeVar("_T")


class RedisReplyCache(ReplyCache):
    """Implements the `ReplyCache` port over Redis (5 or newer), for any number of machines.

    Every value expires, so that Redis removes it by itself; `maxmemory` of Redis bounds the total. While Redis
    fails or is slow, every lookup is a miss, and one request per second is delayed by `wait_seconds`.
    """

    def __init__(
        self,
        url: str,
        max_bytes: int,
        clock: Clock,
        failed: Callable[[], None],
        *,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Use the Redis at `url`; connects on first use. Raises StartupError when `url` is not a Redis URL.

        A value is at most an eighth of `max_bytes`. `failed` is called for each lookup and store that Redis did
        not perform.
        """
        pool = open_redis_pool(url, wait_seconds=wait_seconds, max_connections=_CONNECTIONS)
        self._wait_seconds = wait_seconds
        self.failing = False
        self._pool = pool
        self._client = Redis(connection_pool=pool)
        self._largest = max_bytes // LARGEST_SHARE
        self._clock = clock
        self._failed = failed
        self._failed_at = 0.0
        self._retry_at = 0.0

    async def get(self, key: bytes) -> bytes | None:
        value = await self._run(lambda: self._client.get(_name(key)))
        return value if isinstance(value, bytes) else None

    async def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Store `value` unless it is too large or `ttl` is not positive; an older value is removed either way."""
        name = _name(key)
        if ttl <= 0 or len(value) > self._largest:
            await self._run(lambda: self._client.delete(name))
            return
        await self._run(lambda: self._client.set(name, value, px=max(round(ttl * 1000), 1)))

    async def close(self) -> None:
        await self._pool.disconnect()

    async def _run(self, command: Callable[[], Awaitable[_T]]) -> _T | None:
        if self.failing and not self._may_try():
            notify(self._failed)
            return None
        try:
            async with asyncio.timeout(self._wait_seconds):
                answer = await command()
        except Exception as error:  # noqa: BLE001 - the port never raises
            self._note_failure(type(error).__name__)
            return None
        if self.failing:
            self._note_success()
        return answer

    def _may_try(self) -> bool:
        """Tell whether this request may try Redis again: one per PAUSE_SECONDS."""
        now = self._clock.monotonic()
        if now < self._retry_at:
            return False
        if self._retry_at:
            self._retry_at = now + PAUSE_SECONDS
        return True

    def _note_failure(self, reason: str) -> None:
        notify(self._failed)
        self._failed_at = self._clock.monotonic()
        self._retry_at = self._failed_at + PAUSE_SECONDS
        if not self.failing:
            self.failing = True
            logger.warning(
                "Reply cache: Redis fails ({}); all requests go to providers until it works again", reason
            )

    def _note_success(self) -> None:
        self._retry_at = 0.0
        if self._clock.monotonic() - self._failed_at >= _CALM_SECONDS:
            self.failing = False
            logger.warning("Reply cache: Redis works again")


def _name(key: bytes) -> bytes:
    # Hexadecimal, so that keys are readable in redis-cli.
    return PREFIX + key.hex().encode()
