"""What all requests share: the background tasks and the defaults."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest

from llm_gateway.flow.gateway import Background
from tests.fakes.in_memory import FakeGateway, ScriptedUpstream


async def test_background_work_ends_though_nobody_holds_it() -> None:
    background, done = Background(), asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        done.set()

    background.spawn(work())
    gc.collect()
    async with asyncio.timeout(5):
        await done.wait()


async def test_draining_waits_for_all_work() -> None:
    background, ended = Background(), list[int]()

    async def work(number: int) -> None:
        await asyncio.sleep(0.001 * number)
        ended.append(number)

    for number in range(3):
        background.spawn(work(number))
    await background.drain(5)
    assert sorted(ended) == [0, 1, 2]
    # Nothing is left to wait for.
    await background.drain(0)


async def test_draining_takes_no_longer_than_its_time_and_cancels_nothing() -> None:
    background, gate = Background(), asyncio.Event()
    ended: list[bool] = []

    async def work() -> None:
        await gate.wait()
        ended.append(True)

    background.spawn(work())
    started = time.monotonic()
    await background.drain(0.01)
    assert time.monotonic() - started < 5
    assert ended == []
    gate.set()
    await background.drain(5)
    assert ended == [True]


async def test_work_that_fails_is_forgotten_and_does_not_end_the_drain() -> None:
    background, others = Background(), list[bool]()
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    async def fail() -> None:
        raise RuntimeError("a bug")

    async def other() -> None:
        await asyncio.sleep(0.001)
        others.append(True)

    background.spawn(fail())
    background.spawn(other())
    await background.drain(5)
    assert others == [True]
    assert background._tasks == set()
    gc.collect()
    assert [str(error) for error in reported] == ["a bug"]


async def test_gateways_share_no_state() -> None:
    one, two = (FakeGateway(upstream=ScriptedUpstream()).gateway for _ in range(2))
    one.lifecycle.draining = True
    assert not two.lifecycle.draining
    assert one.background is not two.background
    assert one.selector is not two.selector


async def test_a_gateway_is_not_changed_after_it_was_built() -> None:
    gateway = FakeGateway(upstream=ScriptedUpstream()).gateway
    with pytest.raises(AttributeError):
        gateway.replies = None  # type: ignore[misc]
