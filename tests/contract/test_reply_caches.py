"""Every reply cache keeps the same promises: in a process, and over Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import redis

from llm_gateway.flow.ports.cache import ReplyCache
from llm_gateway.infra.reply_cache import make_reply_cache
from llm_gateway.infra.reply_cache.redis_cache import RedisReplyCache
from tests.fakes.in_memory import FakeClock

MAX_BYTES = 80_000
LARGEST = MAX_BYTES // 8


class Subject:
    """A cache, another that shares its values where there may be one, and the power over their time."""

    def __init__(
        self, cache: ReplyCache, other: ReplyCache | None, pass_time: Callable[[float], None]
    ) -> None:
        self.cache = cache
        self.other = other
        self.pass_time = pass_time


def never() -> None:
    raise AssertionError("Redis failed")


@pytest.fixture(params=["in process", "redis"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    clock = FakeClock()

    def go_on(seconds: float) -> None:
        clock.now += seconds

    if request.param == "in process":
        cache = make_reply_cache(max_bytes=MAX_BYTES, clock=clock, failed=never)
        yield Subject(cache, None, go_on)
        await cache.close()
        return
    url: str = request.getfixturevalue("redis_url")
    # A busy machine must not look like a Redis that is down.
    caches = [RedisReplyCache(url, MAX_BYTES, clock, never, wait_seconds=30.0) for _ in range(2)]
    with redis.Redis.from_url(url) as client:

        def take_away(seconds: float) -> None:
            """Let Redis' values be older than they are: each lives that much shorter."""
            for key in client.scan_iter():
                left = client.pttl(key)
                assert left > 0, "a value without expiry"
                client.pexpire(key, max(round(left - seconds * 1000), 0))

        yield Subject(caches[0], caches[1], take_away)
    for cache in caches:
        await cache.close()


async def test_what_was_put_is_there_until_its_time_is_over(subject: Subject) -> None:
    cache = subject.cache
    assert await cache.get(b"key") is None
    await cache.put(b"key", b"value", 300.0)
    await cache.put(b"long", b"lived", 900.0)
    subject.pass_time(290)
    assert await cache.get(b"key") == b"value"
    subject.pass_time(10)
    assert await cache.get(b"key") is None
    assert await cache.get(b"long") == b"lived"


async def test_a_second_value_takes_the_place_and_the_time_of_the_first(subject: Subject) -> None:
    await subject.cache.put(b"key", b"one", 10.0)
    await subject.cache.put(b"key", b"two", 100.0)
    subject.pass_time(50)
    assert await subject.cache.get(b"key") == b"two"


@pytest.mark.parametrize("value", [b"", b"\0\r\n$-1\xff", bytes(range(256)), b"x" * (LARGEST - 300)])
async def test_any_bytes_come_back_as_they_were(subject: Subject, value: bytes) -> None:
    key = bytes(range(32))
    await subject.cache.put(key, value, 10.0)
    assert await subject.cache.get(key) == value
    if subject.other is not None:
        assert await subject.other.get(key) == value


async def test_a_value_that_is_too_large_leaves_nothing_behind(subject: Subject) -> None:
    await subject.cache.put(b"key", b"small", 10.0)
    await subject.cache.put(b"key", b"x" * (LARGEST + 1), 10.0)
    assert await subject.cache.get(b"key") is None


@pytest.mark.parametrize("ttl", [0.0, -1.0])
async def test_no_time_to_live_is_not_to_be_kept(subject: Subject, ttl: float) -> None:
    await subject.cache.put(b"key", b"old", 10.0)
    await subject.cache.put(b"key", b"new", ttl)
    assert await subject.cache.get(b"key") is None


async def test_keys_are_told_apart(subject: Subject) -> None:
    for number in range(40):
        await subject.cache.put(bytes([number]), b"%d" % number, 10.0)
    assert [await subject.cache.get(bytes([number])) for number in range(40)] == [
        b"%d" % number for number in range(40)
    ]


async def test_redis_values_have_the_versions_prefix_and_an_expiry(redis_url: str) -> None:
    cache = RedisReplyCache(redis_url, MAX_BYTES, FakeClock(), never)
    await cache.put(b"\x01\xff", b"value", 12.5)
    await cache.close()
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == [b"llm-gateway:reply/1/01ff"]
        assert 10_000 < client.pttl("llm-gateway:reply/1/01ff") <= 12_500
