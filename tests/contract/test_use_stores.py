"""Every store of use keeps the same promises: for one worker and several, on one machine and over Redis."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from datetime import UTC
from pathlib import Path

import pytest
import redis

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.ports.use_limits import Claim, HeldUse, Shortage, UseStore
from llm_gateway.infra.use_limits.redis_scripts import Scripts
from llm_gateway.infra.use_limits.redis_store import RedisUseStore
from llm_gateway.infra.use_limits.shared import SharedUseStore

SECOND = 1_000_000_000
DAY_US = 86_400_000_000
# Where Redis finds the time in these tests.
_CLOCK_KEY = "test-clock"


class Clock:
    """The monotonic clock, which Redis' clock follows, and the wall clock; both stand still."""

    def __init__(self, tell_redis: redis.Redis | None = None) -> None:
        self._tell_redis = tell_redis
        self.us = 20_000 * DAY_US + 1
        self.ns = 1_000 * SECOND

    @property
    def ns(self) -> int:
        return self._ns

    @ns.setter
    def ns(self, now: int) -> None:
        self._ns = now
        if self._tell_redis is not None:
            self._tell_redis.delete(_CLOCK_KEY)
            self._tell_redis.rpush(_CLOCK_KEY, *divmod(now // 1000, 1_000_000))

    def monotonic(self) -> int:
        return self.ns

    def unix(self) -> int:
        return self.us


class Subject:
    """Stores that share their counts and take turns."""

    def __init__(self, stores: Sequence[UseStore], clock: Clock) -> None:
        self.clock = clock
        self._turns = itertools.cycle(stores)
        self._stores = stores
        self._of: dict[int, UseStore] = {}

    async def held(self, *claims: Claim) -> HeldUse:
        answer = await self._hold(claims)
        assert isinstance(answer, HeldUse), answer
        return answer

    async def short(self, *claims: Claim) -> Shortage:
        answer = await self._hold(claims)
        assert isinstance(answer, Shortage)
        return answer

    def settle(self, held: HeldUse, tokens: int) -> None:
        self._of.pop(id(held)).settle(held, tokens)

    def release(self, held: HeldUse) -> None:
        self._of.pop(id(held)).release(held)

    async def _hold(self, claims: Sequence[Claim]) -> HeldUse | Shortage:
        for store in self._stores:
            # What was said before has reached Redis.
            if isinstance(store, RedisUseStore):
                await store.flush()
        store = next(self._turns)
        answer = store.hold(claims)
        if not isinstance(answer, (HeldUse, Shortage)):
            answer = await answer
        if isinstance(answer, HeldUse):
            self._of[id(answer)] = store
        return answer


@pytest.fixture(params=["one worker", "two workers", "one machine", "two machines"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    count = 2 if request.param.startswith("two") else 1
    url: str = request.getfixturevalue("redis_url") if "machine" in request.param else ""
    client = redis.Redis.from_url(url) if url else None
    clock = Clock(client)
    # Workers share a folder, machines do not.
    shared = [
        SharedUseStore(
            tmp_path if client is None else tmp_path / str(number),
            "db",
            UTC,
            monotonic_ns=clock.monotonic,
            unix_us=clock.unix,
        )
        for number in range(count)
    ]
    stores: Sequence[SharedUseStore | RedisUseStore] = shared
    if client is not None:
        scripts = Scripts(
            *(text.replace("call('TIME')", f"call('LRANGE', '{_CLOCK_KEY}', 0, 1)") for text in Scripts())
        )
        assert all(_CLOCK_KEY in text for text in scripts)
        # A busy machine must not look like a Redis that is down.
        stores = [
            RedisUseStore(
                url,
                one,
                zone=UTC,
                namespace="db",
                unix_us=clock.unix,
                scripts=scripts,
                wait_seconds=30.0,
                # Time jumps here, and nothing is renewed meanwhile.
                lease_seconds=10_000.0,
            )
            for one in shared
        ]
    yield Subject(stores, clock)
    for store in stores:
        await store.close()
        assert not store.sharing.unshared
    if client is not None:
        client.close()


def claim(key: int = 1, tokens: int = 0, **limits: int) -> Claim:
    return Claim(key, Limits(**limits), tokens)


async def test_workers_share_every_sort_of_limit(subject: Subject) -> None:
    one = other = subject
    claims = [
        claim(1, requests_per_second=1),
        claim(2, requests_per_minute=1),
        claim(3, requests_per_day=1),
        claim(4, concurrent_requests=1),
        claim(5, 10, tokens_per_minute=10),
        claim(6, 10, tokens_per_day=10),
    ]
    await one.held(*claims)
    for position, each in enumerate(claims):
        found = await other.short(each)
        assert getattr(each.limits, found.name) is not None
        assert (await other.short(claim(9, requests_per_day=5), each))[:2] == (1, found.name)
        assert found.limit in (1, 10), position
    # What was refused took nothing elsewhere.
    await other.held(claim(9, requests_per_day=1))


async def test_all_is_taken_together_or_nothing(subject: Subject) -> None:
    store = subject
    full = claim(1, concurrent_requests=1)
    first = await store.held(full)
    roomy = claim(2, 5, requests_per_minute=1, tokens_per_minute=5, concurrent_requests=1)
    assert (await store.short(roomy, full)).position == 1
    store.release(first)
    second = await store.held(roomy, full)
    assert (await store.short(roomy)).name == "requests_per_minute"
    store.release(second)
    await store.held(roomy, full)


async def test_a_release_gives_all_back_and_a_settlement_what_was_not_used(subject: Subject) -> None:
    store = subject
    limits = {
        "requests_per_day": 2,
        "tokens_per_day": 100,
        "tokens_per_minute": 100,
        "concurrent_requests": 1,
    }
    first = await store.held(claim(1, 100, **limits))
    assert first.tokens is not None
    assert first.tokens.remaining == 0
    store.settle(first, 30)
    second = await store.held(claim(1, 70, **limits))
    store.release(second)
    third = await store.held(claim(1, 70, **limits))
    store.settle(third, 10_000)
    found = await store.short(claim(1, 1, **limits))
    assert (found.name, found.used, found.held) == ("requests_per_day", 2, 0)
    found = await store.short(claim(1, 1, tokens_per_day=100))
    assert (found.name, found.used, found.held) == ("tokens_per_day", 10_030, 0)


async def test_a_limit_of_nothing_refuses_for_ever(subject: Subject) -> None:
    store = subject
    for name in Limits.__struct_fields__:
        found = await store.short(claim(1, 1, **{name: 0}))
        assert (found.name, found.wait) == (name, None)
        assert (await store.short(claim(1, 0, **{name: 0}))).wait is None


async def test_a_request_larger_than_its_limit_never_passes(subject: Subject) -> None:
    store = subject
    assert (await store.short(claim(1, 11, tokens_per_minute=10))).wait is None
    assert (await store.short(claim(1, 11, tokens_per_day=10))).wait is None
    assert (await store.short(claim(1, 10**30, tokens_per_day=10))).wait is None


async def test_a_changed_limit_is_in_force_at_once_and_forgets_nothing(subject: Subject) -> None:
    store = subject
    for _ in range(3):
        await store.held(claim(requests_per_minute=3))
    await store.short(claim(requests_per_minute=3))
    await store.held(claim(requests_per_minute=4))
    assert (await store.short(claim(requests_per_minute=2))).used == 4


async def test_a_minute_slides(subject: Subject) -> None:
    store = subject
    await store.held(claim(requests_per_minute=2))
    subject.clock.ns += 30 * SECOND
    await store.held(claim(requests_per_minute=2))
    found = await store.short(claim(requests_per_minute=2))
    assert found.wait is not None
    assert 30 <= found.wait <= 31
    subject.clock.ns += int(found.wait * SECOND)
    await store.held(claim(requests_per_minute=2))
    found = await store.short(claim(requests_per_minute=2))
    assert found.wait is not None
    assert 29 <= found.wait <= 31


async def test_tokens_count_from_the_end_of_the_request_on(subject: Subject) -> None:
    store = subject
    stream = await store.held(claim(1, 60, tokens_per_minute=100))
    subject.clock.ns += 300 * SECOND
    found = await store.short(claim(1, 50, tokens_per_minute=100))
    assert (found.used, found.held, found.wait) == (0, 60, 1.0)
    store.settle(stream, 80)
    found = await store.short(claim(1, 50, tokens_per_minute=100))
    assert (found.used, found.held) == (80, 0)
    assert found.wait is not None
    assert 60 <= found.wait <= 61
    subject.clock.ns += 61 * SECOND
    await store.held(claim(1, 50, tokens_per_minute=100))


async def test_a_new_day_begins_with_nothing(subject: Subject) -> None:
    store = subject
    limits = {"requests_per_day": 1, "tokens_per_day": 10}
    over_midnight = await store.held(claim(1, 4, **limits))
    found = await store.short(claim(1, 4, **limits))
    assert found.reset_at == 20_001 * DAY_US
    subject.clock.us = found.reset_at
    second = await store.held(claim(1, 4, **limits))
    assert second.tokens is not None
    assert second.tokens.remaining == 2, "what is held counts on any day"
    store.settle(over_midnight, 10)
    third = await store.held(claim(1, 4, tokens_per_day=10))
    store.settle(third, 4)
    store.settle(second, 4)
    assert (await store.short(claim(1, 3, tokens_per_day=10))).used == 8, (
        "that of the day before is not of this one"
    )


@pytest.mark.parametrize("step", [3_600_000_000, -3_600_000_000])
@pytest.mark.parametrize("from_midnight", [-1_800_000_000, 1_800_000_000, 40_000_000_000])
async def test_a_clock_step_of_an_hour_locks_nobody_out(
    subject: Subject, step: int, from_midnight: int
) -> None:
    store = subject
    subject.clock.us = 20_001 * DAY_US + from_midnight
    for _ in range(2):
        await store.held(claim(requests_per_day=2))
    await store.short(claim(requests_per_day=2))
    before = subject.clock.us // DAY_US
    subject.clock.us += step
    for _ in range(2 if subject.clock.us // DAY_US != before else 0):
        await store.held(claim(requests_per_day=2))
    await store.short(claim(requests_per_day=2))
    subject.clock.us -= step
    await store.short(claim(requests_per_day=2))
    # What was used of the day that the clock showed too early stays used, and no more.
    subject.clock.us += DAY_US
    for _ in range(3):
        subject.clock.us += DAY_US
        await store.held(claim(requests_per_day=2))
