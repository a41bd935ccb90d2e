"""Rate limits that several machines share through Redis, and what holds while it does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from llm_gateway.flow.ports.limits import Verdict
from llm_gateway.infra.rate_limits.in_process import InProcessRateLimiter
from llm_gateway.infra.rate_limits.redis_storage import BatchingStorage, CredentialLimit
from llm_gateway.infra.rate_limits.ring import refused
from llm_gateway.infra.rate_limits.shared import SharedRateLimiter
from llm_gateway.infra.rate_limits.sharing import Sharing
from llm_gateway.infra.startup_error import StartupError

# A request waits no longer than this for Redis, and so does each step of an exchange with it.
_WAIT_SECONDS = 0.25
# After a failure one request in this time tries Redis again; the others do without.
_PAUSE_SECONDS = 1.0


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
        connects yet. StartupError when `url` is none of Redis.
        """
        try:
            pool = ConnectionPool.from_url(
                url,
                socket_timeout=_WAIT_SECONDS,
                socket_connect_timeout=_WAIT_SECONDS,
                # A command that may have been done must not be done twice.
                retry=Retry(NoBackoff(), 0),
            )
        except (ValueError, TypeError):
            # The message may hold the URL, and that a password.
            raise StartupError(
                "REDIS_URL is not the URL of a Redis; "
                "write redis://[:password@]host:6379/0, rediss://... or unix:///path"
            ) from None
        self._machine = machine
        self._fail = fail
        self._storage = BatchingStorage(pool)
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
        item = CredentialLimit(limit, namespace=self._namespace)
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                allowed = await self._window.hit(item, str(credential_id))
                # Nothing else ran since the answer came, so this is its state.
                state = self._storage.state
        except Exception as fault:  # noqa: BLE001 - the port never raises
            self._retry_at = self._clock() + _PAUSE_SECONDS
            self.sharing.failed(type(fault).__name__)
            return await self._without(credential_id, limit)
        self._retry_at = 0.0
        if self.sharing.failing:
            self.sharing.worked()
        return Verdict(allowed, limit, state.remaining, state.until_next / 1e6, state.until_all / 1e6)

    def hit_nowait(self, credential_id: int, limit: int) -> None:
        """Never at once: Redis has to be asked."""

    async def close(self) -> None:
        """Drop the connection, and close the machine's own limiter."""
        await self._storage.close()
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
