"""Time that passes only when nobody has anything left to do: storms of thousands of requests in a moment."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from typing import Any

from llm_gateway.flow.ports.clock import Clock

# More rounds of the event loop than any chain of fakes takes to its next wait.
_ROUNDS = 30


class VirtualTime(Clock):
    """A clock with sleepers; `run` lets it go on until all work is done."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def monotonic(self) -> float:
        return self.now

    def unix_us(self) -> int:
        return int(self.now * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        """Wait; a cancelled sleeper is forgotten."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), future))
        await future

    async def run(self, *work: Coroutine[Any, Any, Any]) -> list[Any]:
        """Do all of `work`, and return what came of each: its value or its exception."""
        tasks = [asyncio.ensure_future(each) for each in work]
        while not all(task.done() for task in tasks):
            for _ in range(_ROUNDS):
                await asyncio.sleep(0)
            self._wake_next()
        return await asyncio.gather(*tasks, return_exceptions=True)

    def _wake_next(self) -> None:
        while self._sleepers:
            when, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self.now = max(self.now, when)
            future.set_result(None)
            if not self._sleepers or self._sleepers[0][0] > when:
                return
