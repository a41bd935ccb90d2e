from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from llm_gateway.flow.heavy_work import HeavyWork


@pytest.fixture
def work() -> Iterator[HeavyWork]:
    work = HeavyWork()
    yield work
    work.close()


async def test_a_function_runs_outside_the_event_loop_and_its_result_or_error_comes_back(
    work: HeavyWork,
) -> None:
    assert await work.run(threading.current_thread) is not threading.current_thread()
    assert await work.run(int, "20", base=16) == 32
    with pytest.raises(ValueError, match="invalid literal"):
        await work.run(int, "x")


async def test_the_event_loop_goes_on_meanwhile(work: HeavyWork) -> None:
    turns = 0
    busy = asyncio.ensure_future(work.run(time.sleep, 0.2))
    while not busy.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 1


async def test_one_function_runs_at_a_time(work: HeavyWork) -> None:
    running = most = 0

    def count() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        running -= 1

    await asyncio.gather(*(work.run(count) for _ in range(5)))
    assert most == 1


async def test_what_is_cancelled_while_it_waits_never_runs(work: HeavyWork) -> None:
    released, ran = threading.Event(), threading.Event()
    first = asyncio.ensure_future(work.run(released.wait, 10))
    second = asyncio.ensure_future(work.run(ran.set))
    await asyncio.sleep(0)
    second.cancel()
    # The thread's own future hears of it one turn of the loop later.
    with pytest.raises(asyncio.CancelledError):
        await second
    released.set()
    assert await first
    await work.run(int)
    assert not ran.is_set()
