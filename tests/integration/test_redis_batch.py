"""Scripts reach Redis in order and together; the reply of a caller that was cancelled is passed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis
from redis.exceptions import ResponseError

from llm_gateway.infra.redis_pool import open_redis_pool
from llm_gateway.infra.use_limits.redis_batch import ScriptBatch


@pytest.fixture
def failures() -> list[Exception]:
    return []


@pytest.fixture
async def batch(redis_url: str, failures: list[Exception]) -> AsyncIterator[ScriptBatch]:
    made = ScriptBatch(open_redis_pool(redis_url, wait_seconds=30.0), failures.append)
    yield made
    await made.close(5.0)


async def test_replies_come_in_order_over_one_connection(batch: ScriptBatch, redis_url: str) -> None:
    script = batch.register("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    late: list[object] = []
    answers = await asyncio.gather(*(batch.ask(script, ["n"], [1], late.append) for _ in range(600)))
    assert answers == list(range(1, 601))
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
        assert await batch.ask(script, ["n"], [1], late.append) == 601, "Redis had lost the script"
    assert late == []


async def test_what_nobody_waits_for_runs_as_well_and_its_failures_are_told(
    batch: ScriptBatch, failures: list[Exception]
) -> None:
    good = batch.register("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    bad = batch.register("return redis.call('NONSENSE')")
    batch.tell(good, ["n"], [2])
    batch.tell(bad, [], [])
    batch.tell(good, ["n"], [3])
    await batch.flush()
    assert [type(failure) for failure in failures] == [ResponseError]
    assert await batch.ask(good, ["n"], [0], lambda _: None) == 5
    with pytest.raises(ResponseError):
        await batch.ask(bad, [], [], lambda _: None)


async def test_every_admission_has_an_owner_whenever_its_caller_is_cancelled(batch: ScriptBatch) -> None:
    script = batch.register("return redis.call('INCRBY', KEYS[1], 1)")
    late: list[int] = []
    received = 0
    for turns in range(30):
        task = asyncio.create_task(batch.ask(script, ["n"], [], late.append))
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.sleep(turns * 0.0001)
        task.cancel()
        answers: list[object] = await asyncio.gather(task, return_exceptions=True)
        received += isinstance(answers[0], int)
    await batch.flush()
    ran = await batch.ask(script, ["n"], [], late.append) - 1
    assert received + len(late) == ran
