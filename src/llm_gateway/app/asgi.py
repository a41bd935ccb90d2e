"""The ASGI application: starts its parts, serves, drains, and stops them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from loguru import logger

from llm_gateway.app.lifespan import Running, running
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.settings import Settings

_LOOK = 0.02


class Application:
    """What the server runs: HTTP goes to the shell, lifespan starts and stops the parts."""

    def __init__(self, start: Callable[[], AbstractAsyncContextManager[Running]]) -> None:
        """Start nothing yet."""
        self._start = start
        self._running: Running | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Speak ASGI: return what is to be awaited, without a frame of its own around a request."""
        if scope["type"] == "http":
            return self._started().shell(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._lifespan(receive, send)
        message = f"{scope['type']} is not spoken here"
        raise RuntimeError(message)

    async def drain(self, timeout: float) -> None:
        """Take no more work, and return when what is open has finished or `timeout` seconds are over."""
        lifecycle = self._started().lifecycle
        lifecycle.draining = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            if lifecycle.open:
                logger.info("Draining: {} requests are open; no new ones are taken.", lifecycle.open)
            # Looked at now and then: the counter is on the request path and wakes nobody.
            while lifecycle.open and loop.time() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK)
        finally:
            lifecycle.cutting = True
        if lifecycle.open:
            logger.warning("{} requests are still open after {:g} s and are cut.", lifecycle.open, timeout)

    async def catalog_is_empty(self) -> bool:
        """Tell whether nothing was configured yet: no provider and no credential."""
        rows = self._started().storage.rows
        if (await rows.list(StoredProvider, 0, 1)).value:
            return False
        return not (await rows.list(StoredCredential, 0, 1)).value

    def _started(self) -> Running:
        if self._running is None:
            message = "the application's lifespan has not started"
            raise RuntimeError(message)
        return self._running

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        begun = False
        try:
            async with self._start() as self._running:
                begun = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except BaseException as error:
            await send(
                {"type": f"lifespan.{'shutdown' if begun else 'startup'}.failed", "message": str(error)}
            )
            raise
        await send({"type": "lifespan.shutdown.complete"})


def create_app(settings: Settings) -> Application:
    """Return the gateway as an ASGI application."""
    return Application(lambda: running(settings))
