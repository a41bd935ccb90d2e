"""Limits of use over Redis: exact across machines, given back by dead machines, kept up while Redis is away."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
import redis

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.ports.use_limits import Claim, HeldUse, Shortage, UseStore
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.infra.use_limits import make_use_store
from llm_gateway.infra.use_limits.redis_store import RedisUseStore
from llm_gateway.infra.use_limits.shared import SharedUseStore

_MACHINE = """
import asyncio, sys
from datetime import UTC
from pathlib import Path
from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.ports.use_limits import Claim, HeldUse
from llm_gateway.infra.use_limits.redis_store import RedisUseStore
from llm_gateway.infra.use_limits.shared import SharedUseStore

async def main(url, folder, lease):
    machine = SharedUseStore(Path(folder), "db", UTC)
    store = RedisUseStore(url, machine, zone=UTC, namespace="db", lease_seconds=float(lease), renew_seconds=0.1)
    limits = Limits(concurrent_requests=3, tokens_per_minute=30)
    for _ in range(3):
        assert isinstance(await store.hold([Claim(1, limits, 10)]), HeldUse)
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:4]))
"""

Open = Callable[..., RedisUseStore]


@pytest.fixture
async def open_store(redis_url: str, tmp_path: Path) -> AsyncIterator[Open]:
    opened: list[RedisUseStore] = []

    def open_one(**options: Any) -> RedisUseStore:
        machine = SharedUseStore(tmp_path / str(len(opened)), "db", UTC)
        values: dict[str, Any] = {"zone": UTC, "namespace": "db", "wait_seconds": 30.0, **options}
        opened.append(RedisUseStore(values.pop("url", redis_url), machine, **values))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


async def ask(store: UseStore, *claims: Claim) -> HeldUse | Shortage:
    answer = store.hold(claims)
    return answer if isinstance(answer, (HeldUse, Shortage)) else await answer


def claim(key: int = 1, tokens: int = 0, **limits: int) -> Claim:
    return Claim(key, Limits(**limits), tokens)


@pytest.mark.parametrize(
    "limits",
    [
        {"requests_per_minute": 100},
        {"concurrent_requests": 100},
        {"requests_per_day": 100},
        {"tokens_per_minute": 1000},
        {"tokens_per_day": 1000},
    ],
)
async def test_machines_admit_a_hundred_of_many(open_store: Open, limits: dict[str, int]) -> None:
    stores = [open_store() for _ in range(3)]
    claims = [claim(1, 10, **limits), claim(2, 10, requests_per_day=10_000)]
    answers = await asyncio.gather(*(ask(stores[number % 3], *claims) for number in range(3000)))
    held = [(number % 3, answer) for number, answer in enumerate(answers) if isinstance(answer, HeldUse)]
    assert len(held) == 100
    for number, answer in held:
        stores[number].release(answer)
    for store in stores:
        await store.flush()
    again = await asyncio.gather(*(ask(stores[number % 3], *claims) for number in range(300)))
    assert sum(isinstance(answer, HeldUse) for answer in again) == 100


async def test_what_a_dead_machine_held_comes_back_when_its_lease_ends(
    open_store: Open, redis_url: str, tmp_path: Path
) -> None:
    store = open_store()
    wanted = claim(1, 10, concurrent_requests=3, tokens_per_minute=30)
    other = subprocess.Popen(
        [sys.executable, "-c", _MACHINE, redis_url, str(tmp_path / "other"), "1.0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        await asyncio.sleep(1.5)
        answer = await ask(store, wanted)
        assert isinstance(answer, Shortage), "what a live machine holds is renewed"
    finally:
        other.kill()
        other.communicate()
    for _ in range(100):
        answer = await ask(store, wanted)
        if isinstance(answer, HeldUse):
            break
        await asyncio.sleep(0.05)
    held = [answer, await ask(store, wanted), await ask(store, wanted)]
    assert all(isinstance(one, HeldUse) for one in held)
    assert isinstance(await ask(store, wanted), Shortage)
    with redis.Redis.from_url(redis_url) as client:
        [counts] = list(client.scan_iter("*:counts"))
        assert client.hget(counts, "held") == b"30"
        for one in held:
            assert isinstance(one, HeldUse)
            store.settle(one, 0)
        await store.flush()
        assert client.hget(counts, "held") == b"0"


async def test_a_cancelled_request_holds_nothing(open_store: Open, redis_url: str) -> None:
    store = open_store()
    wanted = claim(1, 10, concurrent_requests=500, tokens_per_day=10_000, requests_per_minute=500)
    for turns in range(12):
        tasks = [asyncio.create_task(ask(store, wanted)) for _ in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0.0003)
        for task in tasks:
            task.cancel()
        for answer in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(answer, HeldUse):
                store.release(answer)
        await store.flush()
    await store.flush()
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter("*:counts"):
            values = client.hgetall(key)
            assert isinstance(values, dict)
            assert sum(map(int, values.values())) == 0
        assert list(client.scan_iter("*:holds")) == []
    assert store.open_holds() == 0


@pytest.mark.parametrize("fail", ["open", "closed"])
async def test_without_redis_the_machine_decides(open_store: Open, fail: Any) -> None:
    store = open_store(url="redis://127.0.0.1:1/0", fail=fail)
    answers = [await ask(store, claim(1, requests_per_minute=2, requests_per_day=9)) for _ in range(3)]
    admitted = [isinstance(answer, HeldUse) for answer in answers]
    assert admitted == ([True, True, False] if fail == "open" else [False] * 3)
    assert store.sharing.failing
    for answer in answers:
        if isinstance(answer, HeldUse):
            store.settle(answer, 5)
        else:
            assert answer.wait is not None


async def test_a_machine_goes_on_from_its_own_counts(open_store: Open, redis_url: str) -> None:
    store = open_store(wait_seconds=1.0)
    assert isinstance(await ask(store, claim(1, requests_per_day=3, tokens_per_day=50)), HeldUse)
    held = await ask(store, claim(1, requests_per_day=3))
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        client.script_flush()
    assert isinstance(held, HeldUse)
    store.settle(held, 5)
    assert isinstance(await ask(store, claim(1, requests_per_day=3)), HeldUse)
    assert isinstance(await ask(store, claim(1, requests_per_day=3)), Shortage), "Redis lost its counts"
    with redis.Redis.from_url(redis_url) as client:
        [counts] = list(client.scan_iter("*:counts"))
        values = client.hgetall(counts)
        assert isinstance(values, dict)
        # What this machine refused is taken back from Redis.
        await store.flush()
        assert [value for field, value in client.hgetall(counts).items() if field[:1] == b"r"] == [b"1"]


async def test_other_databases_have_other_counts(open_store: Open) -> None:
    one, other = open_store(), open_store(namespace="other")
    assert isinstance(await ask(one, claim(1, requests_per_day=1)), HeldUse)
    assert isinstance(await ask(other, claim(1, requests_per_day=1)), HeldUse)


def test_what_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="writable folder"):
        make_use_store(directory=tmp_path / "file", namespace="db", zone=UTC)
    with pytest.raises(StartupError, match="REDIS_URL") as caught:
        make_use_store(directory=tmp_path, namespace="db", zone=UTC, redis_url="http://:hush@host")
    assert "hush" not in str(caught.value)
