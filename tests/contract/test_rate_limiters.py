"""Every rate limiter keeps the same promises: in a process, on a machine, and over Redis."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import redis

from llm_gateway.flow.ports.limits import RateLimiter, Verdict
from llm_gateway.infra.rate_limits import make_rate_limiter, redis_storage
from llm_gateway.infra.rate_limits.in_process import InProcessRateLimiter
from llm_gateway.infra.rate_limits.redis_window import RedisRateLimiter
from llm_gateway.infra.rate_limits.ring import WINDOW
from llm_gateway.infra.rate_limits.shared import SharedRateLimiter
from tests.fakes.in_memory import FakeLimiter

# Where Redis finds the time in these tests.
_CLOCK_KEY = "test-clock"


class ManualTime:
    """Time that stands still until a test lets it go on."""

    def __init__(self, tell_redis: redis.Redis | None = None) -> None:
        self._tell_redis = tell_redis
        self.now = 5 * 10**12
        self.go_on(0)

    def __call__(self) -> int:
        return self.now

    def go_on(self, seconds: float) -> None:
        self.now += round(seconds * WINDOW)
        if self._tell_redis is not None:
            whole, rest = divmod(self.now // 1000, 1_000_000)
            self._tell_redis.delete(_CLOCK_KEY)
            self._tell_redis.rpush(_CLOCK_KEY, whole, rest)


class Subject:
    """A limiter, or several that share their counts and take turns, and the power over their time."""

    def __init__(self, limiters: Sequence[RateLimiter], time: ManualTime) -> None:
        self.first = limiters[0]
        self._turns = itertools.cycle(limiters)
        self.pass_time = time.go_on

    async def hits(self, count: int, limit: int, credential_id: int = 1) -> list[Verdict]:
        return [await next(self._turns).hit(credential_id, limit) for _ in range(count)]

    async def admitted(self, count: int, limit: int, credential_id: int = 1) -> int:
        return sum(verdict.allowed for verdict in await self.hits(count, limit, credential_id))


@pytest.fixture(params=["fake", "in process", "one worker", "two workers", "one machine", "two machines"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    count = 2 if request.param.startswith("two") else 1
    if request.param == "fake":
        time = ManualTime()
        yield Subject([FakeLimiter(time)], time)
    elif request.param == "in process":
        time = ManualTime()
        yield Subject([InProcessRateLimiter(time)], time)
    elif "worker" in request.param:
        time = ManualTime()
        workers = [SharedRateLimiter(tmp_path, clock=time) for _ in range(count)]
        yield Subject(workers, time)
        for worker in workers:
            await worker.close()
            assert not worker.sharing.unshared
    else:
        url: str = request.getfixturevalue("redis_url")
        script = redis_storage.SCRIPT.replace("call('TIME')", f"call('LRANGE', '{_CLOCK_KEY}', 0, 1)")
        assert _CLOCK_KEY in script
        # A busy machine must not look like a Redis that is down.
        machines = [
            RedisRateLimiter(url, InProcessRateLimiter(), wait_seconds=30.0, script=script)
            for _ in range(count)
        ]
        with redis.Redis.from_url(url) as client:
            yield Subject(machines, ManualTime(client))
        for machine in machines:
            await machine.close()
            assert not machine.sharing.unshared


async def test_s4_47_the_first_n_pass_at_once_and_the_next_is_told_when(subject: Subject) -> None:
    assert await subject.hits(3, limit=2) == [
        Verdict(True, 2, 1, 0.0, 1.0),
        Verdict(True, 2, 0, 1.0, 1.0),
        Verdict(False, 2, 0, 1.0, 1.0),
    ]
    subject.pass_time(0.25)
    assert await subject.hits(1, limit=2) == [Verdict(False, 2, 0, 0.75, 0.75)]


async def test_s4_48_a_limit_of_zero_blocks_all(subject: Subject) -> None:
    for verdict in await subject.hits(3, limit=0):
        assert verdict == Verdict(False, 0, 0, 1.0, 1.0)
    subject.pass_time(5)
    assert await subject.admitted(2, limit=0) == 0


async def test_refusals_take_no_place(subject: Subject) -> None:
    assert await subject.admitted(2, limit=2) == 2
    subject.pass_time(0.5)
    assert await subject.admitted(20, limit=2) == 0
    subject.pass_time(0.5)
    assert await subject.admitted(20, limit=2) == 2


async def test_a_full_limit_is_known_without_taking_a_place(subject: Subject) -> None:
    limiter = subject.first
    knows = not isinstance(limiter, RedisRateLimiter)
    assert limiter.full(1, 3) is None
    for left in (2, 1, 0):
        assert limiter.full(1, 3) is None
        assert (await limiter.hit(1, 3)).remaining == left
    known = limiter.full(1, 3)
    refused = await limiter.hit(1, 3)
    assert not refused.allowed
    assert (known == refused) if knows else (known is None)
    assert limiter.full(2, 3) is None
    assert limiter.full(1, 0) == await limiter.hit(1, 0)
    subject.pass_time(1)
    assert limiter.full(1, 3) is None


async def test_places_come_back_one_by_one_in_the_order_they_were_taken(subject: Subject) -> None:
    for _ in range(3):
        assert await subject.admitted(1, limit=3) == 1
        subject.pass_time(0.25)
    assert await subject.hits(1, limit=3) == [Verdict(False, 3, 0, 0.25, 0.75)]
    subject.pass_time(0.25)
    assert await subject.hits(2, limit=3) == [Verdict(True, 3, 0, 0.25, 1.0), Verdict(False, 3, 0, 0.25, 1.0)]


async def test_c5_a_place_is_free_after_exactly_a_second(subject: Subject) -> None:
    assert await subject.admitted(2, limit=2) == 2
    subject.pass_time(1 - 1e-6)
    assert await subject.hits(1, limit=2) == [Verdict(False, 2, 0, 1e-6, 1e-6)]
    subject.pass_time(1e-6)
    assert await subject.admitted(3, limit=2) == 2


async def test_credentials_do_not_count_for_one_another(subject: Subject) -> None:
    for credential_id in range(1, 51):
        assert await subject.admitted(3, limit=2, credential_id=credential_id) == 2
    subject.pass_time(1)
    assert await subject.admitted(3, limit=2, credential_id=17) == 2


async def test_a_raised_limit_adds_what_is_new(subject: Subject) -> None:
    assert await subject.admitted(9, limit=4) == 4
    assert await subject.hits(1, limit=6) == [Verdict(True, 6, 1, 0.0, 1.0)]
    assert await subject.admitted(9, limit=6) == 1


async def test_a_lowered_limit_waits_until_the_last_second_fits_it(subject: Subject) -> None:
    assert await subject.admitted(3, limit=5) == 3
    subject.pass_time(0.5)
    assert await subject.admitted(2, limit=5) == 2
    # Four of the five have to go, and the fourth came half a second later.
    assert await subject.hits(1, limit=2) == [Verdict(False, 2, 0, 1.0, 1.0)]
    assert await subject.hits(1, limit=3) == [Verdict(False, 3, 0, 0.5, 1.0)]
    subject.pass_time(1)
    assert await subject.admitted(5, limit=2) == 2


async def test_c7_limits_that_differ_for_a_moment_admit_no_more_than_the_larger(subject: Subject) -> None:
    admitted = 0
    for turn in range(40):
        admitted += await subject.admitted(1, limit=(4, 7, 5)[turn % 3])
    assert admitted == 7
    subject.pass_time(1)
    assert await subject.admitted(9, limit=4) == 4


@pytest.mark.parametrize("limit", [1, 999, 1000, 1001, 2500])
async def test_the_first_n_of_any_limit_and_no_more(subject: Subject, limit: int) -> None:
    for _ in range(2):
        assert await subject.admitted(limit + 5, limit) == limit
        subject.pass_time(1)
    first = (await subject.hits(1, limit))[0]
    assert (first.allowed, first.remaining) == (True, limit - 1)


async def test_what_remains_is_what_passes(subject: Subject) -> None:
    await subject.hits(3, limit=8)
    subject.pass_time(0.5)
    await subject.hits(2, limit=8)
    subject.pass_time(0.5)
    verdict = (await subject.hits(1, limit=8))[0]
    assert verdict.remaining == 5
    assert await subject.admitted(20, limit=8) == 5


async def test_after_close_a_hit_still_gets_a_verdict(tmp_path: Path, redis_url: str) -> None:
    for workers, url in ((1, None), (2, None), (2, redis_url)):
        limiter = make_rate_limiter(workers=workers, directory=tmp_path, redis_url=url)
        assert (await limiter.hit(1, 1)).allowed
        await limiter.close()
        await limiter.close()
        assert (await limiter.hit(2, 0)).allowed is False
        await limiter.hit(1, 1)
        await limiter.close()
