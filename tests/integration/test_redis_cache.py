"""Replies over Redis: what holds while Redis is away or silent, and that no password is ever told."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from loguru import logger

from llm_gateway.infra.reply_cache import make_reply_cache
from llm_gateway.infra.reply_cache.redis_cache import RedisReplyCache
from llm_gateway.infra.startup_error import StartupError
from tests.fakes.in_memory import FakeClock
from tests.fakes.tcp_proxy import TcpProxy

_SECRET = "hunter2-of-redis"


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message} {exception}")
    yield lines
    logger.remove(sink)


@pytest.fixture
def proxy(redis_url: str) -> Iterator[TcpProxy]:
    parts = urlsplit(redis_url)
    assert parts.hostname
    started = TcpProxy((parts.hostname, parts.port or 6379)).start()
    yield started
    started.stop()


class Subject:
    """A cache behind a proxy, with its clock and its failures."""

    def __init__(self, url: str, wait_seconds: float) -> None:
        self.clock = FakeClock()
        self.failures = 0
        self.cache = RedisReplyCache(url, 80_000, self.clock, self._failed, wait_seconds=wait_seconds)

    def _failed(self) -> None:
        self.failures += 1


@pytest.fixture
def subject(proxy: TcpProxy, redis_url: str) -> Subject:
    # A busy machine must not look like a Redis that is down.
    return Subject(f"redis://127.0.0.1:{proxy.port}{urlsplit(redis_url).path}", wait_seconds=2.0)


@pytest.mark.parametrize("fault", ["cut", "freeze"])
async def test_a_redis_that_fails_is_a_miss_that_is_counted_and_told_once(
    subject: Subject, proxy: TcpProxy, log: list[str], fault: str
) -> None:
    cache = subject.cache
    await cache.put(b"key", b"value", 60.0)
    assert await cache.get(b"key") == b"value"
    getattr(proxy, fault)()
    for _ in range(3):
        assert await cache.get(b"key") is None
        await cache.put(b"key", b"other", 60.0)
    assert (subject.failures, len(log)) == (6, 1)
    assert "Reply cache: Redis fails" in log[0]
    proxy.restore()
    # Not yet: the pause is not over.
    assert await cache.get(b"key") is None
    subject.clock.now += 1.0
    assert await cache.get(b"key") == b"value"
    subject.clock.now += 5.0
    assert await cache.get(b"key") == b"value"
    assert (subject.failures, len(log)) == (7, 2)
    assert "Redis works again" in log[1]
    await cache.close()


async def test_one_request_a_second_tries_again(subject: Subject, proxy: TcpProxy) -> None:
    proxy.freeze()
    await subject.cache.get(b"key")
    subject.clock.now += 1.0
    async with asyncio.timeout(10):
        await asyncio.gather(*(subject.cache.get(b"key") for _ in range(200)))
    assert subject.failures == 201
    await subject.cache.close()


async def test_who_leaves_in_the_middle_spoils_no_answer(redis_url: str) -> None:
    subject = Subject(redis_url, wait_seconds=30.0)
    for number in range(20):
        await subject.cache.put(b"%d" % number, b"value of %d" % number, 60.0)
    for turn in range(50):
        tasks = [asyncio.create_task(subject.cache.get(b"%d" % number)) for number in range(20)]
        for _ in range(turn % 7):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert answers[1::2] == [b"value of %d" % number for number in range(1, 20, 2)]
    assert subject.failures == 0
    await subject.cache.close()


async def test_more_at_once_than_connections_all_get_their_own(redis_url: str) -> None:
    subject = Subject(redis_url, wait_seconds=30.0)
    await asyncio.gather(*(subject.cache.put(b"%d" % number, b"%d" % number, 60.0) for number in range(200)))
    answers = await asyncio.gather(*(subject.cache.get(b"%d" % number) for number in range(200)))
    assert answers == [b"%d" % number for number in range(200)]
    assert subject.failures == 0
    await subject.cache.close()


async def test_no_password_is_told_when_redis_refuses_it(redis_url: str, log: list[str]) -> None:
    parts = urlsplit(redis_url)
    subject = Subject(f"redis://somebody:{_SECRET}@{parts.hostname}:{parts.port or 6379}{parts.path}", 30.0)
    assert await subject.cache.get(b"key") is None
    await subject.cache.close()
    assert len(log) == 1
    assert _SECRET not in log[0]
    assert _SECRET not in repr(subject.cache) + repr(vars(subject.cache))


@pytest.mark.parametrize(
    "url", [f"http://:{_SECRET}@localhost:6379", f"redis://:{_SECRET}@localhost:port/0", ""]
)
def test_a_url_that_is_none_of_redis_is_a_start_fault_that_tells_no_password(url: str) -> None:
    with pytest.raises(StartupError, match="REDIS_URL") as raised:
        make_reply_cache(max_bytes=1, clock=FakeClock(), failed=lambda: None, redis_url=url)
    assert _SECRET not in "".join(traceback.format_exception(raised.value))
