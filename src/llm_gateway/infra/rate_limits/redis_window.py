"""Rate limits that several machines share through Redis, and what holds while it does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from llm_gateway.flow.ports import Verdict
from llm_gateway.infra.rate_limits.in_process import InProcessRateLimiter
from llm_gateway.infra.rate_limits.ring import refused
from llm_gateway.infra.rate_limits.shared import SharedRateLimiter
from llm_gateway.infra.rate_limits.sharing import Sharing
from llm_gateway.infra.start_fault import StartFault

# A request waits no longer than this for Redis, a connection included.
_WAIT_SECONDS = 0.25
# After a failure one request in this time tries Redis again; the others do without.
_PAUSE_SECONDS = 1.0
_CONNECTIONS = 64
_PREFIX = "llm-gateway"

# `limits`' own script leaves the state to a second round trip, and goes by the clock of each client. This one
# goes by the clock of Redis, keeps the moments of admission newest first, and answers whether it admitted,
# how many more it would, and the microseconds until the next and until all.
_SCRIPT = """
local key, limit, window, amount = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function moment(index)
    return tonumber(redis.call('LINDEX', key, index))
end
local used = redis.call('LLEN', key)
if used > 0 and moment(0) > now then
    -- The clock was set back.
    redis.call('DEL', key)
    used = 0
end
if used > 0 and moment(-1) <= now - window then
    local low, high = 0, used - 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        if moment(middle) > now - window then low = middle + 1 else high = middle end
    end
    if low == 0 then redis.call('DEL', key) else redis.call('LTRIM', key, 0, low - 1) end
    used = low
end
local allowed = 0
if used + amount <= limit then
    allowed = 1
    for _ = 1, amount do redis.call('LPUSH', key, string.format('%.0f', now)) end
    used = used + amount
    -- Longer than the window, for this clock counts in milliseconds.
    redis.call('PEXPIRE', key, window / 1000 * 2)
end
local next = 0
if used >= limit then next = moment(limit - 1) + window - now end
local all = 0
if used > 0 then all = moment(0) + window - now end
return {allowed, math.max(0, limit - used), next, all}
"""


class _CredentialLimit(RateLimitItemPerSecond):
    """A limit whose count goes on when the limit is changed."""

    def key_for(self, *identifiers: bytes | str | float) -> str:
        """Name the count without the amount, which `limits` would put in."""
        return "/".join((self.namespace, *map(str, identifiers)))


class _OneTripStorage(RedisStorage):
    """`limits`' storage in Redis, whose entries are taken and told of in one round trip."""

    # It is made here alone, not looked up by a URL.
    STORAGE_SCHEME: list[str] = []  # noqa: RUF012 - as the base class declares it

    def __init__(self, pool: BlockingConnectionPool) -> None:
        # The URL says nothing because the pool knows it, and `limits` would put it into its errors.
        super().__init__(
            "async+redis://",
            implementation="redispy",
            key_prefix=_PREFIX,
            connection_pool=pool,  # type: ignore[arg-type] # documented, and left out of the annotation
        )
        self._script = Redis(connection_pool=pool).register_script(_SCRIPT)
        # What the last answer said: places left, microseconds to the next and to all.
        self.state = (0, 0, 0)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Take `amount` entries, if `limit` in `expiry` seconds has room."""
        arguments = (limit, expiry * 1_000_000, amount)
        allowed, *state = await self._script(keys=[f"{_PREFIX}:{key}"], args=arguments)
        remaining, next_us, reset_us = state
        self.state = (remaining, next_us, reset_us)
        return bool(allowed)


class RedisRateLimiter:
    """Implements the `RateLimiter` port over Redis (5 or newer), for any number of machines.

    A Redis that fails, or is slow, costs a request a quarter of a second at most, and one request a second
    while that lasts. Meanwhile `open` holds each machine (each worker, where the machine's own limits are
    in process) to the limit on its own, `closed` refuses; `sharing` tells. When Redis goes or comes back
    the two counts do not know of one another: in that one second a machine may admit the limit by each.
    """

    def __init__(
        self,
        url: str,
        machine: InProcessRateLimiter | SharedRateLimiter,
        *,
        fail: Literal["open", "closed"] = "open",
        namespace: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Talk to the Redis at `url`, fall back on `machine`, which `close` closes too.

        Machines with the same `namespace` (whose credential ids they are) share their counts. Nothing
        connects yet. StartFault when `url` is none of Redis.
        """
        try:
            self._pool = BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=None,
                socket_connect_timeout=_WAIT_SECONDS,
                # A command that may have been done must not be done twice.
                retry=Retry(NoBackoff(), 0),
            )
        except (ValueError, TypeError):
            # The message may hold the URL, and that a password.
            raise StartFault(
                "REDIS_URL is not the URL of a Redis; "
                "write redis://[:password@]host:6379/0, rediss://... or unix:///path"
            ) from None
        self._machine = machine
        self._fail = fail
        self._storage = _OneTripStorage(self._pool)
        self._window = MovingWindowRateLimiter(self._storage)
        self._namespace = f"rate/{namespace}" if namespace else "rate"
        self._clock = clock
        self._retry_at = 0.0
        instead = "each machine holds the limits on its own" if fail == "open" else "limited keys are refused"
        self.sharing = Sharing("Redis", instead, clock)

    async def hit(self, credential_id: int, limit: int) -> Verdict:
        """Take one place if there is one."""
        if limit <= 0:
            return refused(limit)
        if self.sharing.failing and not self._may_try():
            self.sharing.unshared += 1
            return await self._without(credential_id, limit)
        item = _CredentialLimit(limit, namespace=self._namespace)
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                allowed = await self._window.hit(item, str(credential_id))
                # Nothing else ran since the answer came, so this is its state.
                remaining, next_us, reset_us = self._storage.state
        except Exception as fault:  # noqa: BLE001 - the port never raises
            self._retry_at = self._clock() + _PAUSE_SECONDS
            self.sharing.failed(type(fault).__name__)
            return await self._without(credential_id, limit)
        self._retry_at = 0.0
        if self.sharing.failing:
            self.sharing.worked()
        return Verdict(allowed, limit, remaining, next_us / 1e6, reset_us / 1e6)

    async def close(self) -> None:
        """Drop the connections, and close the machine's own limiter."""
        await self._pool.disconnect()
        await self._machine.close()

    def _may_try(self) -> bool:
        """Tell whether this request is the one that tries again; the next is a pause later."""
        now = self._clock()
        if now < self._retry_at:
            return False
        if self._retry_at:
            self._retry_at = now + _PAUSE_SECONDS
        return True

    async def _without(self, credential_id: int, limit: int) -> Verdict:
        if self._fail == "closed":
            return refused(limit)
        return await self._machine.hit(credential_id, limit)
