"""Requests per second as a limit: it holds nothing, and a place once taken stays taken."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.errors import RateLimited
from llm_gateway.flow.accounting.rate_limit import RateLimit, rate_limit_headers
from llm_gateway.flow.accounting.reservations import all_of
from llm_gateway.flow.ports.limits import NOT_LIMITED, NOTHING_HELD, Demand, Limit, RateLimiter, Verdict
from llm_gateway.surfaces.openai.parsing import parse_chat
from tests.fakes.in_memory import FakeLimiter, credential

REQUEST = parse_chat(msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "hello"}]}))
DEMAND = Demand(REQUEST, created_at=0)


def account(rate_limit: int | None) -> Principal:
    return Principal(credential(rate_limit=rate_limit))


class RemoteLimiter(RateLimiter):
    """A limiter whose store has to be waited for."""

    def __init__(self) -> None:
        self._limiter = FakeLimiter(lambda: 0)

    async def hit(self, credential_id: int, limit: int) -> Verdict:
        return await self._limiter.hit(credential_id, limit)

    def hit_nowait(self, credential_id: int, limit: int) -> Verdict | None:
        return None

    def full(self, credential_id: int, limit: int) -> Verdict | None:
        return None


class Refusing(Limit):
    def check(self, account: Principal, /) -> None:
        pass

    def reserve(self, account: Principal, demand: Demand, /) -> Verdict:
        raise RateLimited("no", retry_after=1.0)


def test_a_check_refuses_at_the_limit_and_takes_nothing() -> None:
    limit = RateLimit(FakeLimiter(lambda: 0))
    for _ in range(3):
        limit.check(account(1))
    assert isinstance(limit.reserve(account(1), DEMAND), Verdict)
    with pytest.raises(RateLimited, match="1 requests per second"):
        limit.check(account(1))
    with pytest.raises(RateLimited, match="blocked"):
        limit.check(account(0))
    limit.check(account(None))


@pytest.mark.parametrize("remote", [False, True])
async def test_both_ways_of_a_limiter_admit_the_same(remote: bool) -> None:
    limit = RateLimit(RemoteLimiter() if remote else FakeLimiter(lambda: 0))

    async def reserve() -> Verdict:
        answer = limit.reserve(account(2), DEMAND)
        assert isinstance(answer, Verdict) is not remote
        return answer if isinstance(answer, Verdict) else await answer

    verdicts = [await reserve(), await reserve()]
    assert [verdict.remaining for verdict in verdicts] == [1, 0]
    assert {verdict.reservation for verdict in verdicts} == {NOTHING_HELD}
    with pytest.raises(RateLimited) as refused:
        await reserve()
    assert refused.value.headers[1] == (b"x-ratelimit-remaining-requests", b"0")


def test_an_account_without_a_limit_is_not_counted() -> None:
    limiter = FakeLimiter(lambda: 0)
    assert RateLimit(limiter).reserve(account(None), DEMAND) is NOT_LIMITED
    assert not account(None).is_limited
    assert account(0).is_limited


def test_c44_a_blocked_key_is_told_so_and_not_to_wait() -> None:
    with pytest.raises(RateLimited, match="blocked") as refused:
        RateLimit(FakeLimiter(lambda: 0)).reserve(account(0), DEMAND)
    assert (refused.value.status, refused.value.retry_after, refused.value.waiting_helps) == (
        429,
        None,
        False,
    )


def test_c44_a_limit_that_is_reached_is_waited_for() -> None:
    limit = RateLimit(FakeLimiter(lambda: 0))
    limit.reserve(account(1), DEMAND)
    with pytest.raises(RateLimited) as refused:
        limit.reserve(account(1), DEMAND)
    assert (refused.value.retry_after, refused.value.waiting_helps) == (1.0, True)


def test_a_place_is_not_given_back_when_a_later_limit_refuses() -> None:
    window = RateLimit(FakeLimiter(lambda: 0))
    both = all_of(window, Refusing())
    for _ in range(2):
        with pytest.raises(RateLimited, match="no"):
            both.reserve(account(2), DEMAND)
    with pytest.raises(RateLimited, match="Rate limit reached"):
        both.reserve(account(2), DEMAND)


def test_a_single_limit_costs_no_list() -> None:
    limit = RateLimit(FakeLimiter(lambda: 0))
    assert all_of(limit) is limit


def test_headers_say_when_the_limit_is_free_again() -> None:
    verdict = Verdict(allowed=True, limit=5, remaining=3, retry_after=0.0, reset_after=0.25)
    assert rate_limit_headers(verdict) == (
        (b"x-ratelimit-limit-requests", b"5"),
        (b"x-ratelimit-remaining-requests", b"3"),
        (b"x-ratelimit-reset-requests", b"250ms"),
    )
