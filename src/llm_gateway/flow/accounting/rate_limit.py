"""The limit on a credential's requests per second."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from typing import Final

from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.errors import RateLimited
from llm_gateway.flow.ports.limits import NOT_LIMITED, Demand, Limit, RateLimiter, Reserve, Verdict, in_turn

# By far the most frequent time until the whole limit is free again: there was a request just now.
_WHOLE_SECOND: Final = (b"x-ratelimit-reset-requests", b"1000ms")


class RateLimit(Limit):
    """Requests per second, counted by a rate limiter.

    There is nothing to settle when a request ends. Nor is a place given back when a later limit refuses the
    request: a refused request is a request, too, and a client that keeps sending them is slowed down first.
    """

    __slots__ = ("_full", "_hit", "_hit_nowait")

    def __init__(self, limiter: RateLimiter) -> None:
        self._full = limiter.full
        self._hit = limiter.hit
        self._hit_nowait = limiter.hit_nowait

    def check(self, account: Principal, /) -> None:
        credential = account.credential
        if credential.rate_limit is None:
            return
        verdict = self._full(credential.id, credential.rate_limit)
        if verdict is not None:
            raise _rate_limited(verdict)

    def reserve(self, account: Principal, _demand: Demand, /) -> Verdict | Awaitable[Verdict]:
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

    def for_account(self, account: Principal, first: Reserve | None = None, /) -> Reserve | None:
        identity, limit = account.credential.id, account.credential.rate_limit
        if limit is None:
            return first
        hit = self._hit_nowait

        def reserve(_demand: Demand) -> Verdict | Awaitable[Verdict]:
            verdict = hit(identity, limit)
            if verdict is None:
                return self._reserve_later(identity, limit)
            if verdict.allowed:
                return verdict
            raise _rate_limited(verdict)

        return reserve if first is None else in_turn(first, reserve)

    async def _reserve_later(self, credential_id: int, limit: int) -> Verdict:
        verdict = await self._hit(credential_id, limit)
        if verdict.allowed:
            return verdict
        raise _rate_limited(verdict)


def _rate_limited(verdict: Verdict) -> RateLimited:
    limit = verdict.limit
    if limit == 0:
        # Still 429, as documented for a limit of 0, but no client should wait for it.
        error = RateLimited("This API key is blocked: its rate limit is 0 requests per second.")
        error.waiting_helps = False
    else:
        message = f"Rate limit reached: {limit} requests per second for this API key. Try again shortly."
        error = RateLimited(message, retry_after=max(verdict.retry_after, 1.0))
    error.headers = rate_limit_headers(verdict)
    return error


def rate_limit_headers(verdict: Verdict) -> tuple[tuple[bytes, bytes], ...]:
    """Return OpenAI's x-ratelimit-* headers of an allowed request, or of a refused one."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    most = verdict.limit
    if most or not verdict.allowed:
        after = verdict.reset_after
        headers = (
            _limit_header(most),
            (b"x-ratelimit-remaining-requests", b"%d" % verdict.remaining),
            _WHOLE_SECOND if after == 1.0 else (b"x-ratelimit-reset-requests", _milliseconds(after)),
        )
    if verdict.tokens is not None:
        room = verdict.tokens
        headers += (
            (b"x-ratelimit-limit-tokens", b"%d" % room.limit),
            (b"x-ratelimit-remaining-tokens", b"%d" % room.remaining),
            (b"x-ratelimit-reset-tokens", _milliseconds(room.reset_after)),
        )
    return headers


@lru_cache(maxsize=1024)
def _limit_header(limit: int) -> tuple[bytes, bytes]:
    return b"x-ratelimit-limit-requests", b"%d" % limit


def _milliseconds(seconds: float) -> bytes:
    return b"%dms" % max(round(seconds * 1000), 0)
