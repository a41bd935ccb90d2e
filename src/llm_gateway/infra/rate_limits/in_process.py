"""Rate limits of a single process, in its memory."""

from __future__ import annotations

import time
from collections.abc import Callable

from llm_gateway.flow.ports.limits import RateLimiter, Verdict
from llm_gateway.infra.rate_limits.ring import FIRST, LIMIT, full, is_idle, refused, ring_size, take

# Idle rings are removed when there are this many rings, then whenever their number has doubled.
_FIRST_SWEEP = 1024


class InProcessRateLimiter(RateLimiter):
    """Implements the `RateLimiter` port for a single worker; use it from one thread."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """`clock` returns monotonic nanoseconds."""
        self._clock = clock
        # Lists: to store an item of an array takes four times as long.
        self._rings: dict[int, list[int]] = {}
        self._sweep_at = _FIRST_SWEEP

    async def hit(self, credential_id: int, limit: int) -> Verdict:
        return self.hit_nowait(credential_id, limit)

    def hit_nowait(self, credential_id: int, limit: int) -> Verdict:
        if limit <= 0:
            return refused(limit)
        ring = self._rings.get(credential_id)
        if ring is None:
            ring = self._make(credential_id)
        if ring[LIMIT] != limit and len(ring) < ring_size(limit):
            ring += [0] * (ring_size(limit) - len(ring))
        return take(ring, limit, self._clock())

    def full(self, credential_id: int, limit: int) -> Verdict | None:
        if limit <= 0:
            return refused(limit)
        ring = self._rings.get(credential_id)
        return None if ring is None else full(ring, limit, self._clock())

    async def close(self) -> None:
        self._rings.clear()

    def _make(self, credential_id: int) -> list[int]:
        rings = self._rings
        if len(rings) >= self._sweep_at:
            now = self._clock()
            self._rings = rings = {key: ring for key, ring in rings.items() if not is_idle(ring, now)}
            self._sweep_at = max(_FIRST_SWEEP, 2 * len(rings))
        ring = rings[credential_id] = [0] * FIRST
        return ring
