"""The ASGI application: starts its parts in order, serves, drains, and stops them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from loguru import logger

from llm_gateway.flow.gateway import Lifecycle
from llm_gateway.http.types import AsgiApp, Receive, Scope, Send

_LOOK = 0.02


class Application:
    """What the server runs: HTTP goes to the shell, lifespan starts and stops the parts."""

    def __init__(
        self,
        shell: AsgiApp,
        parts: AbstractAsyncContextManager[None],
        lifecycle: Lifecycle,
        in_flight: Callable[[], int],
        is_empty: Callable[[], Awaitable[bool]],
    ) -> None:
        """Serve with `shell` while `parts` is entered; `in_flight` counts this process' open requests."""
        self._shell = shell
        self._parts = parts
        self._lifecycle = lifecycle
        self._in_flight = in_flight
        self._is_empty = is_empty

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak ASGI."""
        if scope["type"] == "http":
            await self._shell(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def drain(self, timeout: float) -> None:
        """Take no more work, and return when what is open has finished or `timeout` seconds are over."""
        self._lifecycle.draining = True
        try:
            await self._until_idle(timeout)
        finally:
            self._lifecycle.cutting = True

    async def catalog_is_empty(self) -> bool:
        """Tell whether nothing was ever configured: no provider and no credential."""
        return await self._is_empty()

    async def _until_idle(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        if self._in_flight():
            logger.info("Draining: {} requests are open; no new ones are taken.", self._in_flight())
        while self._in_flight() and loop.time() < deadline:
            await asyncio.sleep(_LOOK)
        if self._in_flight():
            logger.warning(
                "{} requests were still open after {:g} s and are cut.", self._in_flight(), timeout
            )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._parts.__aenter__()
        except BaseException as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await self._parts.__aexit__(None, None, None)
        except BaseException as error:
            await send({"type": "lifespan.shutdown.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})
