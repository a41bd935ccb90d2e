"""Makes an application at the first request for it, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llm_gateway.http.types import AsgiApp, Receive, Scope, Send


class OnFirstUse:
    """An ASGI application that `make` returns; requests wait while it is made, and are tried again if that fails."""

    def __init__(self, make: Callable[[], AsgiApp]) -> None:
        self._make = make
        self._made: AsgiApp | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._made is None:
            async with self._one_at_a_time:
                if self._made is None:
                    # In a thread: streams go on meanwhile.
                    self._made = await asyncio.to_thread(self._make)
        await self._made(scope, receive, send)
