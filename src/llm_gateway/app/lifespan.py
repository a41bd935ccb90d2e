"""Starts and stops a gateway with all its components and background tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from loguru import logger

from llm_gateway.app.reporting import update_metrics_regularly
from llm_gateway.app.routes import make_routes, periodic_probes
from llm_gateway.app.storage import Storage, find_keys
from llm_gateway.app.wiring import make_wiring
from llm_gateway.core.errors import Unavailable
from llm_gateway.flow.config.reloader import Reloader
from llm_gateway.flow.gateway import Lifecycle
from llm_gateway.http.types import AsgiApp
from llm_gateway.infra.database.catalog.change_feed import ChangeFeed
from llm_gateway.settings import Settings
from llm_gateway.surfaces.base import Surface


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A gateway whose components have all started."""

    dispatcher: AsgiApp
    lifecycle: Lifecycle
    storage: Storage


@asynccontextmanager
async def running(settings: Settings, surfaces: tuple[Surface, ...]) -> AsyncIterator[Running]:
    """Start all components; stop them in reverse order."""
    async with AsyncExitStack() as stack:
        keys = find_keys(settings)
        wiring = await make_wiring(settings, keys, stack)
        await _first_load(wiring.reloader)
        wiring.shipper.start()
        wiring.access_log.start()
        feed = ChangeFeed(
            wiring.storage.address, wiring.storage.catalog, wiring.worker_registry, wiring.reloader
        )
        await stack.enter_async_context(_in_background(feed.run()))
        await stack.enter_async_context(_in_background(update_metrics_regularly(wiring)))
        probes = periodic_probes(wiring, settings.workers)
        await stack.enter_async_context(_in_background(probes.run()))
        dispatcher = make_routes(settings, keys.admin.secret, wiring, surfaces)
        yield Running(dispatcher=dispatcher, lifecycle=wiring.gateway.lifecycle, storage=wiring.storage)


async def _first_load(reloader: Reloader) -> None:
    """Load the configuration; without a database and a last-good file the gateway starts, but is not ready."""
    try:
        await reloader.start()
    except Unavailable as error:
        logger.error("No configuration yet, so no requests are accepted: {}", error.message)


@asynccontextmanager
async def _in_background(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
