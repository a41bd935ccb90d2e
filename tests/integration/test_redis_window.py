"""Limits over Redis: what holds while Redis is away, slow or strange, and that no password is ever told."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import pytest
import redis
from loguru import logger

from llm_gateway.infra.rate_limits import make_rate_limiter, redis_storage
from llm_gateway.infra.rate_limits.in_process import InProcessRateLimiter
from llm_gateway.infra.rate_limits.redis_window import RedisRateLimiter
from llm_gateway.infra.startup_error import StartupError

_SECRET = "hunter2-of-redis"


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message} {exception}")
    yield lines
    logger.remove(sink)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Proxy:
    """Stands before Redis and can stop answering."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.answering = asyncio.Event()
        self.answering.set()
        self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}{self._target.path}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.answering.set()
        self._server.close()
        for writer in self._open:
            writer.close()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        assert self._target.hostname
        to, back = await asyncio.open_connection(self._target.hostname, self._target.port or 6379)
        self._open.add(back)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._pump(reader, back), self._pump(to, writer))

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self.answering.wait()
            target.write(data)
        target.close()


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy


def limiter_at(
    url: str,
    clock: Clock | None = None,
    fail: Literal["open", "closed"] = "open",
    wait_seconds: float = 30.0,
    script: str = redis_storage.SCRIPT,
) -> RedisRateLimiter:
    """Return a limiter that waits long for Redis, so that a busy machine does not look like a Redis that is down."""
    # The machine's own second never ends, however slow the machine.
    machine = InProcessRateLimiter(lambda: 10**12)
    return RedisRateLimiter(
        url, machine, fail=fail, clock=clock or time.monotonic, wait_seconds=wait_seconds, script=script
    )


async def admitted(limiter: RedisRateLimiter, count: int, limit: int, credential_id: int = 1) -> int:
    return sum([(await limiter.hit(credential_id, limit)).allowed for _ in range(count)])


async def test_c7_a_redis_that_hangs_costs_one_wait_and_then_nothing(proxy: Proxy, log: list[str]) -> None:
    clock = Clock()
    limiter = limiter_at(proxy.url, clock, wait_seconds=1.0)
    assert await admitted(limiter, 3, limit=5) == 3
    proxy.answering.clear()
    began = time.monotonic()
    # Together they wait once; the machine then holds the limit on its own, and knows what Redis has admitted.
    verdicts = await asyncio.gather(*(limiter.hit(1, 5) for _ in range(100)))
    assert sum(verdict.allowed for verdict in verdicts) == 2
    assert time.monotonic() - began < 10
    asked = proxy.connections
    for _ in range(2000):
        assert not (await limiter.hit(1, 5)).allowed
    assert proxy.connections == asked
    assert (limiter.sharing.failing, limiter.sharing.unshared) == (True, 2100)
    assert len(log) == 1
    assert "each machine applies the limits on its own" in log[0]
    await limiter.close()


async def test_one_request_a_second_tries_again_and_all_return_when_it_works(
    proxy: Proxy, log: list[str]
) -> None:
    clock = Clock()
    limiter = limiter_at(proxy.url, clock, wait_seconds=1.0)
    proxy.answering.clear()
    await limiter.hit(1, 5)
    asked = proxy.connections
    clock.now += 1.0
    await asyncio.gather(*(limiter.hit(1, 5) for _ in range(20)))
    assert proxy.connections <= asked + 1
    proxy.answering.set()
    clock.now += 1.0
    assert await admitted(limiter, 9, limit=5, credential_id=2) == 5
    assert limiter.sharing.unshared == 21
    clock.now += 10.0
    assert (await limiter.hit(3, 5)).allowed
    assert [line.split()[0] for line in log] == ["WARNING", "WARNING"]
    assert "Redis works again; 21 verdicts" in log[1]
    assert not limiter.sharing.failing
    await limiter.close()


async def _storm(limiters: list[RedisRateLimiter], seconds: float, times: list[float]) -> None:
    """Ask all limiters all the time, and note when each request was admitted."""

    async def ask(limiter: RedisRateLimiter) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (await limiter.hit(1, 50)).allowed:
                times.append(time.monotonic())
            await asyncio.sleep(0.001)

    await asyncio.gather(*(ask(limiter) for limiter in limiters for _ in range(4)))


def _busiest_second(times: list[float]) -> int:
    times = sorted(times)
    return max(
        sum(start <= each < start + 0.95 for each in times[first:]) for first, start in enumerate(times)
    )


async def test_an_outage_multiplies_a_limit_by_the_machines_and_by_no_more(proxy: Proxy) -> None:
    """Also in the seconds in which Redis fails and comes back."""
    limiters = [RedisRateLimiter(proxy.url, InProcessRateLimiter(), wait_seconds=0.25) for _ in range(2)]
    times: list[float] = []
    storm = asyncio.ensure_future(_storm(limiters, 8.0, times))
    await asyncio.sleep(1.5)
    proxy.answering.clear()
    await asyncio.sleep(1.7)
    assert all(limiter.sharing.failing for limiter in limiters)
    proxy.answering.set()
    await storm
    # The last seconds are exact again; the clocks of Redis and of the test differ by some milliseconds.
    end = times[-1]
    assert sum(each > end - 0.95 for each in times) <= 50
    assert _busiest_second(times) <= 100
    for limiter in limiters:
        await limiter.close()


async def test_a_burst_after_an_outage_finds_what_was_admitted_in_it(proxy: Proxy) -> None:
    """The machines' own second never ends here: what they admitted in the outage counts for ever."""
    clock = Clock()
    limiters = [limiter_at(proxy.url, clock, wait_seconds=1.0) for _ in range(2)]
    proxy.answering.clear()
    assert [await admitted(limiter, 60, limit=50) for limiter in limiters] == [50, 50]
    proxy.answering.set()
    clock.now += 1.0
    assert [await admitted(limiter, 60, limit=50) for limiter in limiters] == [0, 0]
    # Every limiter has Redis again, and the admissions of the outage are a second old.
    clock.now += 3.0
    await asyncio.sleep(1.1)
    assert sum([await admitted(limiter, 60, limit=50) for limiter in limiters]) == 50
    for limiter in limiters:
        await limiter.close()


async def test_closed_refuses_while_redis_is_away(log: list[str]) -> None:
    limiter = limiter_at("redis://127.0.0.1:1/0", fail="closed")
    for _ in range(3):
        verdict = await limiter.hit(1, 5)
        assert (verdict.allowed, verdict.remaining, verdict.retry_after) == (False, 0, 1.0)
    assert limiter.sharing.unshared == 3
    assert "requests of keys with a limit are rejected" in log[0]
    await limiter.close()


async def test_cancelled_hits_leave_no_answer_for_others(redis_url: str) -> None:
    limiter = limiter_at(redis_url)
    for turn in range(100):
        tasks = [asyncio.create_task(limiter.hit(credential_id, 1000)) for credential_id in range(1, 11)]
        await asyncio.sleep(turn % 7 * 0.0002)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    # Every one of these has a limit of its own, so a mixed-up answer would show.
    verdicts = await asyncio.gather(*(limiter.hit(number, number) for number in range(100, 200)))
    assert [verdict.remaining for verdict in verdicts] == list(range(99, 199))
    assert not limiter.sharing.unshared
    await limiter.close()


async def test_the_count_lives_a_second_by_the_real_clock_and_leaves_no_key(redis_url: str) -> None:
    limiter = limiter_at(redis_url)
    assert await admitted(limiter, 12, limit=10) == 10
    refused = await limiter.hit(1, 10)
    assert 0 < refused.retry_after <= 1
    await asyncio.sleep(refused.reset_after)
    assert await admitted(limiter, 12, limit=10) == 10
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.keys() == ["llm-gateway:rate/1"]
        assert 1000 < client.pttl("llm-gateway:rate/1") <= 2000
    await limiter.close()


async def test_a_clock_of_redis_that_is_set_back_locks_nobody_out(redis_url: str) -> None:
    script = redis_storage.SCRIPT.replace("call('TIME')", "call('LRANGE', 'test-clock', 0, 1)")
    limiter = limiter_at(redis_url, script=script)
    with redis.Redis.from_url(redis_url) as client:
        client.rpush("test-clock", 1_700_003_600, 0)
        assert await admitted(limiter, 9, limit=5) == 5
        client.lset("test-clock", 0, 1_700_000_000)
        assert await admitted(limiter, 9, limit=5) == 5
    await limiter.close()


async def test_databases_are_kept_apart_and_a_lost_script_is_sent_again(redis_url: str) -> None:
    limiters = [
        RedisRateLimiter(redis_url, InProcessRateLimiter(), namespace=name, wait_seconds=30.0)
        for name in ("one", "another")
    ]
    for limiter in limiters:
        assert await admitted(limiter, 3, limit=2) == 2
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    assert await admitted(limiters[0], 1, limit=5, credential_id=2) == 1
    for limiter in limiters:
        assert not limiter.sharing.unshared
        await limiter.close()


async def test_no_password_is_told_when_redis_refuses_it(redis_url: str, log: list[str]) -> None:
    parts = urlsplit(redis_url)
    url = f"redis://somebody:{_SECRET}@{parts.hostname}:{parts.port or 6379}{parts.path}"
    limiter = limiter_at(url)
    assert (await limiter.hit(1, 5)).allowed
    assert limiter.sharing.failing
    await limiter.close()
    assert len(log) == 1
    assert "AuthenticationError" in log[0]
    assert _SECRET not in log[0]
    assert _SECRET not in repr(limiter) + repr(vars(limiter))


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{_SECRET}@localhost:6379",
        f"redis://:{_SECRET}@localhost:port/0",
        f"redis://:{_SECRET}@localhost:6379/0?max_connections=many",
        f"{_SECRET}@localhost",
        "",
    ],
)
def test_a_url_that_is_none_of_redis_is_a_start_fault_that_tells_no_password(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(StartupError, match="REDIS_URL") as raised:
        make_rate_limiter(workers=1, directory=tmp_path, redis_url=url)
    assert _SECRET not in "".join(traceback.format_exception(raised.value))


async def test_c7_workers_of_a_machine_share_the_limit_while_redis_is_away(tmp_path: Path) -> None:
    workers = [
        make_rate_limiter(workers=2, directory=tmp_path, redis_url="redis://127.0.0.1:1/0") for _ in range(2)
    ]
    verdicts = [(await workers[turn % 2].hit(1, 6)).allowed for turn in range(20)]
    assert verdicts.count(True) == 6
    for worker in workers:
        await worker.close()
