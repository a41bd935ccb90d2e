"""Work on large bodies, which would block the event loop: it runs in a thread, one piece at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Bytes. Work on a smaller body takes less time than handing it to a thread is worth.
LARGE_BODY: Final = 256 * 1024


class HeavyWork:
    """Runs functions in one thread of its own.

    One thread, because Python runs one at a time anyway: several would share the processor with the event loop, and
    more than one large body would be in memory in several forms at once.
    """

    def __init__(self) -> None:
        # Its thread starts with the first function.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="heavy-work")

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return what the function returns, or raise what it raises. Cancelled while it waits, it never runs."""
        work = self._thread.submit(function, *args, **kwargs)
        return await asyncio.wrap_future(work)

    def close(self) -> None:
        """Drop what waits, and let the thread end; does not wait for it."""
        self._thread.shutdown(wait=False, cancel_futures=True)
