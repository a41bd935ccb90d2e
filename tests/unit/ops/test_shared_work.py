"""However many ask: the work is done once for all, after they asked, and leaves time for everything else."""

from __future__ import annotations

import asyncio

import pytest

from llm_gateway.ops.shared_work import SharedWork


class Work:
    """Counts how often it is done; takes `seconds`."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds
        self.times: list[float] = []
        self.fault: Exception | None = None
        self.running = 0

    async def __call__(self) -> int:
        assert not self.running
        self.running += 1
        loop = asyncio.get_running_loop()
        self.times.append(loop.time())
        number = len(self.times)
        await asyncio.sleep(self.seconds)
        self.running -= 1
        if self.fault is not None:
            raise self.fault
        return number


async def test_all_that_ask_at_once_share_one() -> None:
    work = Work()
    shared = SharedWork(work)
    assert await asyncio.gather(*(shared.get() for _ in range(50))) == [1] * 50


async def test_a_result_is_of_after_the_question() -> None:
    work = Work(0.05)
    shared = SharedWork(work, longest_pause=0)
    first = asyncio.create_task(shared.get())
    await asyncio.sleep(0.02)
    assert list(await asyncio.gather(shared.get(), shared.get(), first)) == [2, 2, 1]


async def test_a_flood_leaves_pauses() -> None:
    work = Work(0.01)
    shared = SharedWork(work, longest_pause=0.2)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.0

    async def poll() -> None:
        while loop.time() < end:
            await shared.get()

    await asyncio.gather(*(poll() for _ in range(8)))
    assert 3 <= len(work.times) <= 7


async def test_a_lone_question_does_not_wait() -> None:
    work = Work(0.01)
    shared = SharedWork(work)
    begun = asyncio.get_running_loop().time()
    await shared.get()
    assert asyncio.get_running_loop().time() - begun < 0.5


async def test_a_failure_reaches_all_and_the_next_is_tried() -> None:
    work = Work()
    shared = SharedWork(work, longest_pause=0.01)
    work.fault = ValueError("broken")
    answers = await asyncio.gather(shared.get(), shared.get(), return_exceptions=True)
    assert list(map(str, answers)) == ["broken", "broken"]
    work.fault = None
    assert await shared.get() == 2


async def test_who_leaves_takes_nothing_from_the_others() -> None:
    work = Work(0.05)
    shared = SharedWork(work)
    leaving = asyncio.create_task(shared.get())
    staying = asyncio.create_task(shared.get())
    await asyncio.sleep(0.01)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await staying == 1
