"""The ASGI application: starts its parts, serves, drains, and stops them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from loguru import logger

from llm_gateway.app.client_apis import client_apis
from llm_gateway.app.lifespan import Running, running
from llm_gateway.core.errors import GatewayError
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.settings import Settings
from llm_gateway.sockets.write_batch import WriteBatch
from llm_gateway.surfaces.base import Surface

_POLL_INTERVAL = 0.02


class Application:
    """What the server runs: HTTP goes to the dispatcher, lifespan starts and stops the parts."""

    def __init__(self, start: Callable[[WriteBatch | None], AbstractAsyncContextManager[Running]]) -> None:
        self._start = start
        self._batch: WriteBatch | None = None
        self._running: Running | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI entry point. Not `async`, to save a frame per request; returns the awaitable."""
        if scope["type"] == "http":
            return self._started().dispatcher(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._lifespan(receive, send)
        message = f"the ASGI scope {scope['type']} is not supported"
        raise RuntimeError(message)

    def share_writes(self, batch: WriteBatch) -> None:
        """Write in `batch`, too, in which the server makes all its writes to clients; call before the lifespan."""
        self._batch = batch

    async def drain(self, timeout: float) -> None:
        """Take no new requests; return when the open ones have finished, or after `timeout` seconds."""
        lifecycle = self._started().lifecycle
        lifecycle.draining = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            if lifecycle.open:
                logger.info("Draining: {} requests are open; no new ones are taken.", lifecycle.open)
            # Polled, since a counter on the request path should not notify.
            while lifecycle.open and loop.time() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_INTERVAL)
        finally:
            lifecycle.cutting = True
        if lifecycle.open:
            logger.warning("{} requests are still open after {:g} s and are cut.", lifecycle.open, timeout)

    async def reload(self) -> None:
        """Reload the configuration from the database; the log says what came of it. Does not raise."""
        try:
            await self._started().reloader.reload()
        except GatewayError as error:
            logger.error("The configuration was not reloaded: {}", error.message)
        except Exception:  # noqa: BLE001 - there is nobody else to tell
            logger.exception("The configuration was not reloaded")

    def catalog_is_empty(self) -> bool:
        """Tell whether there is neither a provider nor a credential; False while the database is down."""
        return self._started().reloader.is_empty

    def report_other_journals(self) -> None:
        """Log the usage records in DATA_DIR that wait for another database."""
        self._started().other_journals.report()

    def _started(self) -> Running:
        if self._running is None:
            message = "the application's lifespan has not started"
            raise RuntimeError(message)
        return self._running

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        begun = False
        try:
            async with self._start(self._batch) as self._running:
                begun = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except BaseException as error:
            await send(
                {"type": f"lifespan.{'shutdown' if begun else 'startup'}.failed", "message": str(error)}
            )
            raise
        await send({"type": "lifespan.shutdown.complete"})


def create_app(settings: Settings, surfaces: tuple[Surface, ...] | None = None) -> Application:
    """Return the gateway as an ASGI application; without `surfaces`, with those that the settings name."""
    served = client_apis(settings) if surfaces is None else surfaces
    return Application(lambda batch: running(settings, served, batch))
