"""Rate limiters and their verdicts."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a limiter says of one request; times are seconds from now."""

    allowed: bool
    limit: int
    # How many more would be let through now.
    remaining: int
    # Until a request may be let through again (0.0 when one may now).
    retry_after: float
    # Until the whole limit is free again.
    reset_after: float


class RateLimiter(Protocol):
    """At most `limit` requests of one credential in any one second, the first `limit` at once."""

    async def hit(self, credential_id: int, limit: int) -> Verdict:
        """Take one place if there is one. Never raises: a failing store is the limiter's own affair."""

    def hit_nowait(self, credential_id: int, limit: int) -> Verdict | None:
        """Do as `hit` does, at once; None, and nothing taken, when that has to be waited for."""
