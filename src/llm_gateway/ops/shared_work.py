"""Work that is done once for all that ask for it, and never more often than the process can afford."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")
# Work that took a second is followed by a pause of this many, but by no longer pause than the longest.
_PAUSE = 20.0


class SharedWork(Generic[_T]):
    """Whoever asks gets a result of work that began after they asked, so it is never old.

    While the last work is too recent, they wait for the next one together: however many clients ask, the work takes
    about a twentieth of the time.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[_T]],
        *,
        longest_pause: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Do `work`, with pauses of at most `longest_pause` seconds."""
        self._work = work
        self._longest_pause = longest_pause
        self._clock = clock
        self._may_begin_at = 0.0
        # The work that has not begun yet, for all that ask now.
        self._next: asyncio.Task[_T] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def get(self) -> _T:
        """Return the result; raise what the work raised."""
        task = self._next
        if task is None:
            task = self._next = asyncio.create_task(self._run())
        # Shielded: others wait for it when this client leaves.
        return await asyncio.shield(task)

    async def _run(self) -> _T:
        try:
            async with self._one_at_a_time:
                wait = self._may_begin_at - self._clock()
                if wait > 0:
                    await asyncio.sleep(wait)
                # Who asks from here on gets the result of the next work.
                self._next = None
                begun = self._clock()
                try:
                    return await self._work()
                finally:
                    now = self._clock()
                    self._may_begin_at = now + min(_PAUSE * (now - begun), self._longest_pause)
        finally:
            if self._next is asyncio.current_task():
                self._next = None
