"""The cache in memory holds no more than it may, and forgets the least recently used first."""

from __future__ import annotations

import random

import pytest

from llm_gateway.infra.reply_cache.in_process import InProcessReplyCache
from tests.fakes.in_memory import FakeClock


async def test_the_least_recently_used_go_first() -> None:
    cache = InProcessReplyCache(10_000, FakeClock())
    for key in (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"):
        await cache.put(key, bytes(900), 60.0)
    assert await cache.get(b"a") is not None
    await cache.put(b"i", bytes(900), 60.0)
    await cache.put(b"j", bytes(900), 60.0)
    found = {key for key in b"abcdefghij" if await cache.get(bytes([key])) is not None}
    assert found == set(b"adefghij")


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_held_never_exceeds_the_bound(seed: int) -> None:
    chance = random.Random(seed)
    clock = FakeClock()
    cache = InProcessReplyCache(20_000, clock)
    for _ in range(2000):
        key = b"%d" % chance.randrange(60)
        if chance.random() < 0.5:
            await cache.put(key, bytes(chance.randrange(4000)), chance.uniform(-1, 20))
        else:
            await cache.get(key)
        clock.now += chance.random()
        assert 0 <= cache.held_bytes <= 20_000
    clock.now += 30
    for number in range(60):
        assert await cache.get(b"%d" % number) is None
    assert cache.held_bytes == 0


async def test_a_bound_of_nothing_keeps_nothing() -> None:
    cache = InProcessReplyCache(0, FakeClock())
    await cache.put(b"a", b"", 60.0)
    assert await cache.get(b"a") is None
