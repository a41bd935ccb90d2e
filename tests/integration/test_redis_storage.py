"""The Redis storage of rate limits: the script's states, batches, lost scripts, cancelled and failed hits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis
from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from llm_gateway.infra.rate_limits.redis_storage import PREFIX, SCRIPT, BatchingStorage, CredentialLimit

SECOND = 1_000_000
# Replaces Redis' clock by a list of two numbers that a test sets: seconds and microseconds.
CLOCKED = SCRIPT.replace("call('TIME')", "call('LRANGE', 'test-clock', 0, 1)")


@pytest.fixture
async def storage(redis_url: str) -> AsyncIterator[BatchingStorage]:
    storage = BatchingStorage(ConnectionPool.from_url(redis_url))
    yield storage
    await storage.close()


class RedisClock:
    """Sets the time that `CLOCKED` reads."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.set(1_700_000_000 * SECOND)

    def set(self, us: int) -> None:
        self.us = us
        self._client.delete("test-clock")
        self._client.rpush("test-clock", us // SECOND, us % SECOND)


@pytest.fixture
async def clocked(redis_url: str) -> AsyncIterator[tuple[BatchingStorage, RedisClock]]:
    storage = BatchingStorage(ConnectionPool.from_url(redis_url), CLOCKED)
    with redis.Redis.from_url(redis_url) as client:
        yield storage, RedisClock(client)
    await storage.close()


async def test_the_state_says_how_many_are_left_and_when_places_are_free(
    clocked: tuple[BatchingStorage, RedisClock],
) -> None:
    storage, clock = clocked
    start = clock.us
    assert await storage.acquire_entry("a", 2, 1)
    assert storage.state == (True, 1, 0, SECOND)
    clock.set(start + 300_000)
    assert await storage.acquire_entry("a", 2, 1)
    assert storage.state == (True, 0, 700_000, SECOND)
    clock.set(start + 400_000)
    assert not await storage.acquire_entry("a", 2, 1)
    assert storage.state == (False, 0, 600_000, 900_000)
    # The first hit is a second old now, and its place is free.
    clock.set(start + SECOND)
    assert await storage.acquire_entry("a", 2, 1)
    assert storage.state == (True, 0, 300_000, SECOND)
    clock.set(start + 3 * SECOND)
    assert await storage.acquire_entry("a", 2, 1)
    assert storage.state == (True, 1, 0, SECOND)


async def test_hits_older_than_the_window_are_removed_wherever_they_end(
    clocked: tuple[BatchingStorage, RedisClock], redis_url: str
) -> None:
    storage, clock = clocked
    start = clock.us
    for number in range(20):
        clock.set(start + number * 100_000)
        assert await storage.acquire_entry("a", 100, 1)
        # Those of the last second: the hit exactly a second ago is not among them.
        assert storage.state.remaining == 100 - min(number + 1, 10)
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen(f"{PREFIX}:a") == 10


async def test_several_places_are_taken_together_or_not_at_all(
    clocked: tuple[BatchingStorage, RedisClock],
) -> None:
    storage, _ = clocked
    assert await storage.acquire_entry("a", 5, 1, 3)
    assert not await storage.acquire_entry("a", 5, 1, 3)
    assert storage.state.remaining == 2
    assert await storage.acquire_entry("a", 5, 1, 2)


async def test_a_lowered_limit_counts_what_was_admitted_before(
    clocked: tuple[BatchingStorage, RedisClock],
) -> None:
    storage, clock = clocked
    start = clock.us
    for number in range(4):
        clock.set(start + number * 100_000)
        await storage.acquire_entry("a", 4, 1)
    assert not await storage.acquire_entry("a", 2, 1)
    # A place is free when fewer than two are younger than a second: when the third hit is a second old.
    assert storage.state == (False, 0, 900_000, SECOND)


async def test_hits_at_once_go_out_together_and_each_gets_its_own_state(
    storage: BatchingStorage, redis_url: str
) -> None:
    results = await asyncio.gather(*(storage.acquire_entry(str(n % 3), 50, 10) for n in range(600)))
    # 50 of the 200 hits of each of the three keys.
    assert sum(results) == 150
    assert [sum(results[key::3]) for key in range(3)] == [50, 50, 50]
    with redis.Redis.from_url(redis_url) as client:
        assert [client.llen(f"{PREFIX}:{key}") for key in range(3)] == [50, 50, 50]


async def test_one_connection_is_enough(redis_url: str) -> None:
    pool = ConnectionPool.from_url(redis_url, max_connections=1)
    storage = BatchingStorage(pool)
    assert all(await asyncio.gather(*(storage.acquire_entry(str(n), 1, 10) for n in range(300))))
    await storage.close()


async def test_a_cancelled_hit_that_still_waits_is_not_counted(
    storage: BatchingStorage, redis_url: str
) -> None:
    tasks = [asyncio.create_task(storage.acquire_entry("a", 100, 10)) for _ in range(10)]
    await asyncio.sleep(0)
    for task in tasks[5:]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[:5] == [True] * 5
    assert all(isinstance(result, asyncio.CancelledError) for result in results[5:])
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen(f"{PREFIX}:a") == 5


@pytest.mark.parametrize("count", [1, 10])
async def test_a_script_that_redis_lost_is_loaded_and_every_hit_is_counted_once(
    storage: BatchingStorage, redis_url: str, count: int
) -> None:
    await storage.acquire_entry("a", 100, 10)
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
        assert all(await asyncio.gather(*(storage.acquire_entry("a", 100, 10) for _ in range(count))))
        assert client.llen(f"{PREFIX}:a") == count + 1


async def test_an_error_of_one_hit_is_not_an_error_of_the_others(
    storage: BatchingStorage, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{PREFIX}:text", "not a list")
    hits = (storage.acquire_entry(key, 10, 10) for key in ("a", "text", "b"))
    one, broken, other = await asyncio.gather(*hits, return_exceptions=True)
    assert (one, other) == (True, True)
    assert isinstance(broken, ResponseError)
    # Alone, it is sent without a pipeline.
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await storage.acquire_entry("text", 10, 10)


async def test_without_redis_every_hit_of_the_batch_fails_and_the_next_one_tries_again() -> None:
    storage = BatchingStorage(ConnectionPool.from_url("redis://127.0.0.1:1/0"))
    for count in (3, 1):
        hits = (storage.acquire_entry("a", 10, 10) for _ in range(count))
        faults = await asyncio.gather(*hits, return_exceptions=True)
        assert [type(fault) for fault in faults] == [RedisConnectionError] * count
    await storage.close()


async def test_close_cancels_the_hits_that_wait(storage: BatchingStorage) -> None:
    tasks = [asyncio.create_task(storage.acquire_entry("a", 10, 10)) for _ in range(3)]
    await asyncio.sleep(0)
    await storage.close()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)


def test_the_key_of_a_limit_does_not_depend_on_its_amount() -> None:
    keys = {CredentialLimit(amount, namespace="rate").key_for(7) for amount in (1, 5, 100)}
    assert keys == {"rate/7"}
