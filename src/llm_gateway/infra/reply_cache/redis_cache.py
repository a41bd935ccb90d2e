"""Replies kept in a Redis that machines share, and what holds while it does not answer: nothing is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from loguru import logger
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from llm_gateway.flow.ports.clock import Clock
from llm_gateway.infra.reply_cache.in_process import LARGEST_SHARE
from llm_gateway.infra.startup_error import StartupError

# The number goes up when the form of keys or values changes: nobody reads what another version wrote.
PREFIX = b"llm-gateway:reply/1/"
# A request waits no longer than this for Redis, and so does each step of an exchange with it.
_WAIT_SECONDS = 0.25
# After a failure one request in this time tries Redis again; for the others it is a miss at once.
_PAUSE_SECONDS = 1.0
# Redis counts as mended when it has worked for this long.
_CALM_SECONDS = 5.0
_CONNECTIONS = 32

_T = TypeVar("_T")


class RedisReplyCache:
    """Implements the `ReplyCache` port over Redis (5 or newer), for any number of machines.

    Every value has its expiry, so that Redis forgets by itself; how much it holds is for its `maxmemory` to
    bound. A Redis that fails, or is slow, costs one request a second a quarter of a second.
    """

    def __init__(self, url: str, max_bytes: int, clock: Clock, failed: Callable[[], None]) -> None:
        """Talk to the Redis at `url`. Nothing connects yet; StartupError when `url` is none of Redis.

        Values are an eighth of `max_bytes` at most. `failed` is called for what Redis did not do.
        """
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=_WAIT_SECONDS,
                socket_timeout=_WAIT_SECONDS,
                socket_connect_timeout=_WAIT_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        except (ValueError, TypeError):
            # The message may hold the URL, and that a password.
            raise StartupError(
                "REDIS_URL is not the URL of a Redis; "
                "write redis://[:password@]host:6379/0, rediss://... or unix:///path"
            ) from None
        self.failing = False
        self._pool = pool
        self._client = Redis(connection_pool=pool)
        self._largest = max_bytes // LARGEST_SHARE
        self._clock = clock
        self._failed = failed
        self._failed_at = 0.0
        self._retry_at = 0.0

    async def get(self, key: bytes) -> bytes | None:
        """Return what is kept, or None: also when Redis does not answer."""
        value = await self._do(lambda: self._client.get(_name(key)))
        return value if isinstance(value, bytes) else None

    async def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Keep `value`, unless it is too large, `ttl` is over, or Redis does not answer."""
        name = _name(key)
        if ttl <= 0 or len(value) > self._largest:
            await self._do(lambda: self._client.delete(name))
            return
        await self._do(lambda: self._client.set(name, value, px=max(round(ttl * 1000), 1)))

    async def close(self) -> None:
        """Drop the connections."""
        await self._pool.disconnect()

    async def _do(self, command: Callable[[], Awaitable[_T]]) -> _T | None:
        if self.failing and not self._may_try():
            self._failed()
            return None
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                answer = await command()
        except Exception as fault:  # noqa: BLE001 - the port never raises
            self._note_failure(type(fault).__name__)
            return None
        if self.failing:
            self._note_success()
        return answer

    def _may_try(self) -> bool:
        """Tell whether this request is the one that tries again; the next is a pause later."""
        now = self._clock.monotonic()
        if now < self._retry_at:
            return False
        if self._retry_at:
            self._retry_at = now + _PAUSE_SECONDS
        return True

    def _note_failure(self, reason: str) -> None:
        self._failed()
        self._failed_at = self._clock.monotonic()
        self._retry_at = self._failed_at + _PAUSE_SECONDS
        if not self.failing:
            self.failing = True
            logger.warning(
                "Reply cache: Redis fails ({}); until it works again every request goes to a provider", reason
            )

    def _note_success(self) -> None:
        self._retry_at = 0.0
        if self._clock.monotonic() - self._failed_at >= _CALM_SECONDS:
            self.failing = False
            logger.warning("Reply cache: Redis works again")


def _name(key: bytes) -> bytes:
    # Readable by whoever looks into Redis.
    return PREFIX + key.hex().encode()
