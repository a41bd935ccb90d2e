"""Rate limits that several machines share through Redis, with a fallback for when Redis does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from limits.aio.strategies import MovingWindowRateLimiter

from llm_gateway.flow.ports.limits import RateLimiter, Verdict
from llm_gateway.infra.rate_limits.in_process import InProcessRateLimiter
from llm_gateway.infra.rate_limits.redis_storage import SCRIPT, BatchingStorage, CredentialLimit
from llm_gateway.infra.rate_limits.ring import refused
from llm_gateway.infra.rate_limits.shared import SharedRateLimiter
from llm_gateway.infra.redis_pool import PAUSE_SECONDS, WAIT_SECONDS, open_redis_pool
from llm_gateway.infra.sharing_status import SharingStatus

_WINDOW_SECONDS = 1.0


class RedisRateLimiter(RateLimiter):
    """Implements the `RateLimiter` port over Redis (5 or newer), for any number of machines.

    A Redis that fails or is slow delays a request by `wait_seconds` at most, and only one request per second
    while that lasts. Meanwhile, with `fail="open"` each machine applies the limit on its own (each worker, if
    `machine` counts in process); with `fail="closed"` every limited request is rejected. `sharing` shows the
    state.

    With `fail="open"`, the machine also counts what Redis admits, and after an outage a request needs a place in
    both counts until no limiter can be without Redis and no admission of the outage is younger than a second. So
    N machines admit at most N times the limit in any second, also in those in which Redis fails or comes back.
    """

    def __init__(
        self,
        url: str,
        machine: InProcessRateLimiter | SharedRateLimiter,
        *,
        fail: Literal["open", "closed"] = "open",
        namespace: str = "",
        clock: Callable[[], float] = time.monotonic,
        wait_seconds: float = WAIT_SECONDS,
        script: str = SCRIPT,
    ) -> None:
        """Use the Redis at `url`, and `machine` as the fallback; `close` closes both. Connects on first use.

        Machines with the same `namespace` share their counts; it names the database that the credential ids
        belong to. Raises StartupError when `url` is not a Redis URL.
        """
        self._machine = machine
        self._fail = fail
        self._wait_seconds = wait_seconds
        self._storage = BatchingStorage(open_redis_pool(url, wait_seconds=wait_seconds), script)
        self._window = MovingWindowRateLimiter(self._storage)
        self._namespace = f"rate/{namespace}" if namespace else "rate"
        self._clock = clock
        self._retry_at = 0.0
        # Until then (by `clock`) a request also needs a place on the machine.
        self._settled_at = 0.0
        fallback = (
            "each machine applies the limits on its own"
            if fail == "open"
            else "requests of keys with a limit are rejected"
        )
        self.sharing = SharingStatus("Redis", fallback, clock)

    async def hit(self, credential_id: int, limit: int) -> Verdict:
        if limit <= 0:
            return refused(limit)
        if self.sharing.failing and not self._may_try():
            self.sharing.unshared += 1
            return await self._fall_back(credential_id, limit)
        item = CredentialLimit(limit, namespace=self._namespace)
        try:
            async with asyncio.timeout(self._wait_seconds):
                allowed = await self._window.hit(item, str(credential_id))
                # No other task ran since the answer came, so this is its state.
                state = self._storage.state
        except Exception as fault:  # noqa: BLE001 - the port never raises
            self._retry_at = self._clock() + PAUSE_SECONDS
            self.sharing.failed(type(fault).__name__)
            return await self._fall_back(credential_id, limit)
        if self._retry_at:
            self._retry_at = 0.0
            # The limiters of other workers and machines may try Redis this much later.
            self._settled_at = self._clock() + PAUSE_SECONDS + self._wait_seconds + _WINDOW_SECONDS
        if self.sharing.failing:
            self.sharing.worked()
        verdict = Verdict(allowed, limit, state.remaining, state.until_next / 1e6, state.until_all / 1e6)
        if not allowed or self._fail == "closed":
            return verdict
        on_machine = await self._machine.hit(credential_id, limit)
        # Later than that the two can differ only because their clocks do.
        return verdict if on_machine.allowed or self._clock() >= self._settled_at else on_machine

    def hit_nowait(self, credential_id: int, limit: int) -> None:
        """Return None: the answer needs a round trip to Redis."""

    def full(self, credential_id: int, limit: int) -> Verdict | None:
        """Return None unless the limit is 0: only Redis knows the counts."""
        del credential_id
        return refused(limit) if limit <= 0 else None

    async def close(self) -> None:
        await self._storage.close()
        await self._machine.close()

    def _may_try(self) -> bool:
        """Tell whether this request may try Redis again: one per PAUSE_SECONDS."""
        now = self._clock()
        if now < self._retry_at:
            return False
        if self._retry_at:
            self._retry_at = now + PAUSE_SECONDS
        return True

    async def _fall_back(self, credential_id: int, limit: int) -> Verdict:
        if self._fail == "closed":
            return refused(limit)
        return await self._machine.hit(credential_id, limit)
