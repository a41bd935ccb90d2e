"""The limit on a credential's requests per second."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.errors import RateLimited
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.limits import NOT_LIMITED, Limit, RateLimiter, Verdict

# By far the most frequent time until the whole limit is free again: there was a request just now.
_WHOLE_SECOND: Final = b"1000ms"


class RateLimit(Limit):
    """Requests per second, counted by a rate limiter.

    There is nothing to settle when a request ends. Nor is a place given back when a later limit refuses the
    request: a refused request is a request, too, and a client that keeps sending them is slowed down first.
    """

    __slots__ = ("_hit", "_hit_nowait")

    def __init__(self, limiter: RateLimiter) -> None:
        self._hit = limiter.hit
        self._hit_nowait = limiter.hit_nowait

    def reserve(self, account: Principal, _request: ModelRequest, /) -> Verdict | Awaitable[Verdict]:
        credential = account.credential
        limit = credential.rate_limit
        if limit is None:
            return NOT_LIMITED
        verdict = self._hit_nowait(credential.id, limit)
        if verdict is None:
            return self._reserve_later(credential.id, limit)
        if verdict.allowed:
            return verdict
        raise _rate_limited(verdict)

    async def _reserve_later(self, credential_id: int, limit: int) -> Verdict:
        verdict = await self._hit(credential_id, limit)
        if verdict.allowed:
            return verdict
        raise _rate_limited(verdict)


def _rate_limited(verdict: Verdict) -> RateLimited:
    limit = verdict.limit
    if limit == 0:
        message = "This API key is blocked: its rate limit is 0 requests per second."
    else:
        message = f"Rate limit reached: {limit} requests per second for this API key. Try again shortly."
    error = RateLimited(message, retry_after=max(verdict.retry_after, 1.0))
    error.headers = rate_limit_headers(verdict)
    return error


def rate_limit_headers(verdict: Verdict) -> tuple[tuple[bytes, bytes], ...]:
    """Return OpenAI's x-ratelimit-* headers."""
    after = verdict.reset_after
    return (
        (b"x-ratelimit-limit-requests", b"%d" % verdict.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % verdict.remaining),
        (
            b"x-ratelimit-reset-requests",
            _WHOLE_SECOND if after == 1.0 else b"%dms" % max(round(after * 1000), 0),
        ),
    )
